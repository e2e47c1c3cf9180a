//! podman with a store and settings of the tests' own: nothing of the machine's podman is used or touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What podman must not take from the machine that the tests run on.
const SETTINGS: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"#;

/// Where images and containers are kept.
pub struct Store(PathBuf);

impl Store {
    /// In an existing folder.
    pub fn new(folder: PathBuf) -> Store {
        fs::write(folder.join("containers.conf"), SETTINGS).unwrap();
        Store(folder)
    }

    /// podman on this store. vfs works on any file system, and the images are small.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", self.0.join("containers.conf"));
        command.args(["--storage-driver", "vfs", "--root"]).arg(self.0.join("store"));
        command.arg("--runroot").arg(self.0.join("run")).arg("--tmpdir").arg(self.0.join("tmp"));
        command.args(arguments);
        command
    }
}

/// Puts into a folder what `Dockerfile.scratch` needs: itself and the product.
pub fn stage(context: &Path, project: &Path, product: &Path) {
    fs::create_dir_all(context.join("dist")).unwrap();
    fs::copy(product, context.join("dist/chaos-agent-linux-amd64")).unwrap();
    fs::copy(project.join("Dockerfile.scratch"), context.join("Dockerfile.scratch")).unwrap();
}
