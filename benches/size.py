#!/usr/bin/env python3
"""Bytes of the product by crate and by room: size.py PRODUCT MAP [FOLDER OF RLIBS...]

MAP is what the linker wrote when it linked PRODUCT (-Map): every piece of the file with its length and the name
of the function or constant in it. A piece that was folded into an equal one is not in the file and not counted.
Generic code counts for the crate that wrote it, not for the crate whose types it was made for; an implementation
of a trait counts for the room where the implementation stands, where its name says it (v0), else for its type.
What the outliner made of several functions is a line of its own. Constants carry only the mark of the crate that
they were compiled in, which is looked up in the rlibs of the folders.
"""

import os
import re
import sys
from collections import defaultdict

OWN = "chaos_agent"
DEEP = ("failures", "linux")  # rooms whose parts are listed one by one
OUTLINED = "(outlined: shared by several)"
MERGED = "(constants merged by the linker)"
TABLES = "(tables of the linker)"
LEGACY = (("$LT$", "<"), ("$GT$", ">"), ("$RF$", "&"), ("$BP$", "*"), ("$u20$", " "), ("$u27$", "'"), ("$C$", ","), ("..", "::"))


def legacy(symbol):
    """The path in a legacy name: _ZN, then each part with its length before it."""
    symbol, parts, at = re.sub(r"17h[0-9a-f]{16}E.*", "E", symbol), [], 3
    while length := re.compile(r"\d+").match(symbol, at):
        at = length.end() + int(length[0])
        parts.append(symbol[length.end() : at])
    first = parts[0] if parts else ""
    if "$LT$" in first or first.startswith("_$"):  # <Type as Trait>: the type's path, and the trait's where it has none
        for old, new in LEGACY:
            first = first.replace(old, new)
        # A type parameter, a tuple, a built-in type: no path; then the implementation is the trait's crate's.
        return (re.findall(r"\w+(?:::\w+)+", first) or [parts[0]])[0].split("::")
    return parts


def v0(symbol):
    """The path in a v0 name (RFC 2603): from the first crate on."""
    root = re.search(r"C(?:s[0-9A-Za-z]*_)?(?=\d)", symbol)
    parts, at = [], root.end() if root else len(symbol)
    part = re.compile(r"(?:s[0-9A-Za-z]*_)?(\d+)_?")
    while length := part.match(symbol, at):
        at = length.end() + int(length[1])
        parts.append(symbol[length.end() : at])
    return parts


def path_of(symbol):
    if "OUTLINED_FUNCTION" in symbol:
        return [OUTLINED]
    if mangled := re.search(r"_ZN.*", symbol):
        return legacy(mangled[0])
    if mangled := re.search(r"_R[A-Z].*", symbol):
        return v0(mangled[0])
    return []


class Rlibs:
    """Which crate's code was compiled with a mark: its rlib has the mark in it."""

    def __init__(self, folders):
        self.content, self.known = {}, {}
        for folder in folders:
            for name in sorted(os.listdir(folder)):
                if name.endswith(".rlib"):
                    with open(os.path.join(folder, name), "rb") as file:
                        self.content[re.sub(r"^lib|-[0-9a-f]*\.rlib$", "", name)] = file.read()

    def crate(self, mark):
        if mark not in self.known:
            has = [crate for crate, content in self.content.items() if mark.encode() in content]
            self.known[mark] = has[0] if has else OWN  # no rlib: the program's own, main.rs
        return self.known[mark]


def owner(file, section, rlibs):
    """The path that a piece of a file's section counts for: crate, room, part."""
    if file == "<internal>":
        return [MERGED if section.startswith(".rodata") else TABLES]
    if mark := re.search(r"\.Lanon\.([0-9a-f]+)\.", section):
        crate = rlibs.crate(mark[1])
        return [crate, "(constants)"] if crate == OWN else [crate]
    if path := path_of(section):
        return path
    if inside := re.search(r"/(?:lib)?([^/]*?)(?:-[0-9a-f]+)?\.(?:a|rlib)\(", file):
        return ["musl" if inside[1] in ("c", "libc") else inside[1]]
    if re.search(r"/r?crt\w*\.o$", file):
        return ["musl"]
    return [OWN, "(constants)"]  # of main.rs, or under a name of C's that it stands in for


def pieces(map_file):
    """Length, file, section in it, and section of the product, of everything in the file."""
    row = re.compile(r" *[0-9a-f]+ +[0-9a-f]+ +([0-9a-f]+) +\d+ (\S.*| {8}\S.*)$")
    out = ""
    with open(map_file, encoding="utf-8") as lines:
        for line in lines:
            if not (found := row.match(line.rstrip("\n"))):
                continue
            if not found[2].startswith(" "):
                out = found[2]
            elif inside := re.fullmatch(r" {8}(\S.*):\((.*)\)", found[2]):
                if out not in (".bss", ".tbss", ".relro_padding", ".symtab"):  # no bytes of the file
                    yield int(found[1], 16), inside[1], inside[2], out


def table(title, rows):
    print(f"\n{title:40} {'text':>9} {'data':>9} {'bytes':>9}")
    for name, (text, data) in sorted(rows.items(), key=lambda row: -sum(row[1])):
        print(f"{name:40} {text:9,} {data:9,} {text + data:9,}")


def main():
    product, map_file, folders = sys.argv[1], sys.argv[2], sys.argv[3:]
    rlibs = Rlibs(folders)
    crates, rooms = defaultdict(lambda: [0, 0]), defaultdict(lambda: [0, 0])
    sizes = defaultdict(int)
    for length, file, section, out in pieces(map_file):
        path = owner(file, section, rlibs)
        kind = 0 if out in (".text", ".init", ".fini") else 1
        crates[path[0]][kind] += length
        sizes[out] += length
        if path[0] == OWN:
            depth = 2 if path[1] in DEEP and len(path) > 3 and path[2].islower() else 1
            rooms["/".join(path[1 : 1 + depth])][kind] += length
    whole = os.stat(product).st_size
    crates["(headers, alignment)"][1] = whole - sum(sizes.values())
    table("room of " + OWN, rooms)
    table("crate", crates)
    text = sum(size[0] for size in crates.values())
    print(f"{'total':40} {text:9,} {whole - text:9,} {whole:9,}")


main()
