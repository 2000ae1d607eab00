//! The programs that the clients run in, and the packages that those need.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

/// Whether curl and bash are there; `false` when these tests are left out.
pub fn curl() -> bool {
    if is_skipped("curl") {
        return false;
    }
    need("bash", &["--version"], "bash");
    need("curl", &["--version"], "curl");
    true
}

/// Packages for Python, in a place of their own.
pub struct Packages {
    /// The name of the place.
    pub place: &'static str,
    /// The file that names them with their versions.
    pub requirements: &'static str,
    /// Modules that must be there, comma-separated.
    pub modules: &'static str,
}

/// What the clients need that are written in Python.
const CLIENTS: Packages = Packages {
    place: "python",
    requirements: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/clients/requirements.txt"),
    modules: "aiohttp_sse_client, httpx_sse, jose, ld_eventsource, prometheus_client, requests, sseclient, starlette",
};

/// A Python that has what the clients need, of which the test is about `package`; `None` when these tests are left out.
pub fn python(package: &str) -> Option<PathBuf> {
    python_with(package, &CLIENTS)
}

/// A Python that has these packages.
pub fn python_with(package: &str, packages: &Packages) -> Option<PathBuf> {
    if is_skipped(package) {
        return None;
    }
    Some(once(packages.place, || install_python(packages)))
}

/// What `install` returns for a place. Tests run at once: one installs, the others that need the same place wait for it, and
/// other places are installed meanwhile.
fn once(place: &'static str, install: impl FnOnce() -> PathBuf) -> PathBuf {
    static READY: Mutex<BTreeMap<&str, Arc<OnceLock<PathBuf>>>> = Mutex::new(BTreeMap::new());
    let ready = READY.lock().expect("no panic holds it").entry(place).or_default().clone();
    ready.get_or_init(install).clone()
}

fn install_python(packages: &Packages) -> PathBuf {
    let requirements = packages.requirements;
    need(
        "python3",
        &["-c", "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"],
        "Python 3.11 or newer with venv and pip (python3 and python3-venv)",
    );
    let place = place(packages.place);
    let python = place.join("bin/python");
    let is_whole = || have(&python, &["-c", &format!("import {}", packages.modules)]);
    let wanted = fs::read_to_string(requirements).expect("a file of requirements");
    installed(&place, &wanted, is_whole, || {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements];
        run(Command::new(&python).args(pip));
    });
    python
}

/// The script that follows a stream with a module of its directory, beside the packages of `package.json`; `None` when these
/// tests are left out.
pub fn node_runner() -> Option<PathBuf> {
    Some(node_packages()?.join("run.mjs"))
}

/// Packages for Node, in a place of their own, with the scripts that import them.
pub struct NodePackages {
    /// The name of the place.
    pub place: &'static str,
    /// The `package.json` that names them with their versions.
    pub manifest: &'static str,
    /// The directories of the scripts, within this one.
    pub scripts: &'static [&'static str],
}

/// The clients that are written in JavaScript, and what lies between them and the server.
const NODE_CLIENTS: NodePackages = NodePackages {
    place: "node",
    manifest: include_str!("clients/package.json"),
    scripts: &["clients/follow", "clients/page", "examples", "proxies"],
};

/// The directory with the packages of `package.json`; `None` when these tests are left out.
pub fn node_packages() -> Option<PathBuf> {
    node_with("clients in JavaScript", &NODE_CLIENTS)
}

/// A directory with these packages and the scripts that import them; `None` when these tests are left out.
pub fn node_with(name: &str, packages: &NodePackages) -> Option<PathBuf> {
    if is_skipped(name) {
        return None;
    }
    need_node();
    Some(once(packages.place, || install_node(packages)))
}

/// Whether Node is there, of which the test needs no package; `false` when these tests are left out.
pub fn plain_node() -> bool {
    if is_skipped("Node") {
        return false;
    }
    need_node();
    true
}

/// The script that drives a browser, and the browser; `None` when these tests are left out.
pub fn browser() -> Option<(PathBuf, &'static str)> {
    let chromium = chromium()?;
    Some((node_packages()?.join("drive_page.mjs"), chromium))
}

/// The program Chromium; `None` when these tests are left out.
pub fn chromium() -> Option<&'static str> {
    if is_skipped("Chromium") {
        return None;
    }
    need("chromium", &["--version"], "Chromium (chromium)");
    Some("/usr/bin/chromium")
}

/// The program Firefox; `None` when these tests are left out.
pub fn firefox() -> Option<&'static str> {
    if is_skipped("Firefox") {
        return None;
    }
    need("firefox-esr", &["--version"], "Firefox (firefox-esr)");
    Some("firefox-esr")
}

/// Whether jq is there; `false` when these tests are left out.
pub fn jq() -> bool {
    if is_skipped("jq") {
        return false;
    }
    need("jq", &["--version"], "jq");
    true
}

fn need_node() {
    let is_new = "process.exit(Number(process.versions.node.split('.')[0]) >= 20 ? 0 : 1)";
    need("node", &["-e", is_new], "Node 20 or newer (nodejs)");
}

/// Installs the packages, with the scripts that import them. Returns their directory.
fn install_node(packages: &NodePackages) -> PathBuf {
    need("npm", &["--version"], "npm");
    let place = place(packages.place);
    let manifest = packages.manifest;
    let names: serde_json::Value = serde_json::from_str(manifest).expect("a manifest is JSON");
    let names: Vec<_> = names["dependencies"].as_object().expect("it has dependencies").keys().cloned().collect();
    let is_whole = || names.iter().all(|name| place.join("node_modules").join(name).join("package.json").exists());
    installed(&place, manifest, is_whole, || {
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).expect("a directory for packages");
        fs::write(place.join("package.json"), manifest).expect("it can be written");
        let npm = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
        run(Command::new("npm").args(npm).current_dir(&place));
    });
    // A module finds packages in directories above its own alone.
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/world");
    let scripts = packages.scripts.iter().map(|directory| tests.join(directory));
    for entry in scripts.flat_map(|directory| fs::read_dir(directory).expect("a directory of scripts")) {
        let script = entry.expect("an entry").path();
        if let (Some(name), true) = (script.file_name(), script.extension() == Some(OsStr::new("mjs"))) {
            fs::copy(&script, place.join(name)).expect("it can be copied");
        }
    }
    place
}

/// The program nginx; `None` when these tests are left out.
pub fn nginx() -> Option<&'static str> {
    if is_skipped("nginx") {
        return None;
    }
    // Its directory is not in the path of every user.
    let found = ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| have(program, &["-v"]));
    assert!(found.is_some(), "nginx (nginx-light) is missing: install it, run tests/run, or set CORTEX_SKIP_CLIENTS=1");
    found
}

/// The program Caddy; `None` when these tests are left out.
pub fn caddy() -> Option<&'static str> {
    if is_skipped("Caddy") {
        return None;
    }
    need("caddy", &["version"], "Caddy (caddy)");
    Some("caddy")
}

/// Whether these tests are left out, which is said where also a test that passes is heard.
fn is_skipped(name: &str) -> bool {
    let is_skipped = std::env::var("CORTEX_SKIP_CLIENTS").is_ok_and(|value| value == "1");
    if is_skipped {
        let _ = writeln!(std::io::stderr(), "skipped: the test with {name}, because CORTEX_SKIP_CLIENTS=1");
    }
    is_skipped
}

#[track_caller]
fn need(program: &str, arguments: &[&str], package: &str) {
    let is_there = have(program, arguments);
    assert!(is_there, "{package} is missing: install it, run tests/run, or set CORTEX_SKIP_CLIENTS=1");
}

/// Whether a program is there and content.
fn have(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Where packages go, under `target/`.
fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(name)
}

/// Installs into `place` unless exactly what `wanted` names is there already, and still whole.
fn installed(place: &Path, wanted: &str, is_whole: impl Fn() -> bool, install: impl FnOnce()) {
    // Written last, so that an installation that broke off is none.
    let stamp = place.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) && is_whole() {
        return;
    }
    install();
    fs::write(stamp, wanted).expect("it can be written");
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&said));
}
