//! podman with a store and settings of the tests' own, and the two images that they run.

use crate::common::output::words;
use crate::common::podman::{Store, stage};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The agent's image, as `build.sh image` and the manifests name it.
pub const AGENT_IMAGE: &str = concat!("localhost/chaos-agent:", env!("CARGO_PKG_VERSION"));

/// Where this tier keeps what it makes.
pub fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let target = std::env::var("CHAOS_TARGET").unwrap_or_else(|_| format!("{}/target", root().display()));
        let home = Path::new(&target).join("pod");
        fs::create_dir_all(&home).unwrap();
        home
    })
}

/// The top of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// podman on the tests' own store.
fn command(arguments: &[&str]) -> Command {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE.get_or_init(|| Store::new(home().to_owned())).command(arguments)
}

/// Runs podman and gives what it printed; fails the test when it fails.
pub fn podman(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "podman {arguments:?}: {}", words(&output));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Runs podman, whatever comes of it.
pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("podman starts")
}

/// Builds both images, once: the product's from `Dockerfile.scratch`, and one that stands in for the manifest's
/// web server under the very name that the manifest uses.
pub fn images() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let product = std::env::var("CHAOS_AGENT")
            .expect("CHAOS_AGENT names the product; ./build.sh test pod does that");
        let context = home().join("image");
        stage(&context, root(), Path::new(&product));
        build(AGENT_IMAGE, &context);

        let context = home().join("app");
        fs::create_dir_all(&context).unwrap();
        fs::copy("/bin/busybox", context.join("busybox")).unwrap();
        fs::write(context.join("Dockerfile.scratch"), APP).unwrap();
        build(&app_image(), &context);
    });
}

/// A web server whose process is called nginx, as the real one's is: busybox's, started under that name.
const APP: &str = r#"FROM scratch
COPY busybox /bin/sh
COPY busybox /bin/nginx
USER 101:101
ENTRYPOINT ["/bin/sh", "-c", "exec -a httpd /bin/nginx -f -p 8080 -h /bin"]
"#;

/// The application's image in the manifest.
pub fn app_image() -> String {
    let images = manifest_images();
    images
        .into_iter()
        .find(|image| image != AGENT_IMAGE)
        .expect("an image of the application in the manifest")
}

/// Every image that the manifest names, in its order.
pub fn manifest_images() -> Vec<String> {
    let text = fs::read_to_string(root().join("deploy/plain/sidecar.yaml")).unwrap();
    text.lines().filter_map(|line| line.trim().strip_prefix("image: ").map(str::to_owned)).collect()
}

fn build(name: &str, context: &Path) {
    let file = context.join("Dockerfile.scratch");
    let (file, context) = (file.to_str().unwrap(), context.to_str().unwrap());
    podman(&["build", "-q", "--network", "none", "-f", file, "-t", name, context]);
}
