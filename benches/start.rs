//! The size of the program, the time from its start to its first response, and its memory then.
//!
//! Each start is a new process. The time runs from before the fork until the response to `GET /` has arrived.

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use support::figures::{self, PROGRAM as CONTENDER};
use support::http::fetch;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cortex-core");
const STARTS: usize = 40;

fn main() -> ExitCode {
    support::main("start", run)
}

fn run() -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let bytes = std::fs::metadata(PROGRAM).map_err(failed)?.len();
    println!("the program has {bytes} bytes\n");
    figures::record("size of the program", CONTENDER, "MB", bytes as f64 / 1e6);
    println!("{:<36}{:>10}{:>10}{:>12}", "first answer after", "p50 ms", "p90 ms", "RSS KiB");
    let scratch = Scratch::new().map_err(failed)?;
    let development = [("ENV", "development")];
    let production = [("ENV", "production"), ("JWT_SECRET_KEY", "a key that is only good for a benchmark, 0123456789")];
    row("an existing database", &scratch, &production, false)?;
    row("a new database", &scratch, &production, true)?;
    row("a new database, in development", &scratch, &development, true)
}

fn row(name: &str, scratch: &Scratch, settings: &[(&str, &str)], anew: bool) -> Result<(), String> {
    scratch.clear();
    start(scratch, settings)?;
    let (mut times, mut resident) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        if anew {
            scratch.clear();
        }
        let (time, bytes) = start(scratch, settings)?;
        times.push(time);
        resident.push(bytes);
    }
    times.sort();
    resident.sort();
    let milliseconds = |part: usize| times[STARTS * part / 10].as_secs_f64() * 1e3;
    println!("{name:<36}{:>10.1}{:>10.1}{:>12}", milliseconds(5), milliseconds(9), resident[STARTS / 2] / 1024);
    let row = format!("start with {name}");
    figures::record(&row, CONTENDER, "p50 ms", milliseconds(5));
    figures::record(&row, CONTENDER, "p90 ms", milliseconds(9));
    figures::record(&row, CONTENDER, "KiB", resident[STARTS / 2] as f64 / 1024.0);
    Ok(())
}

/// One start: its duration, and the resident bytes after the first response.
fn start(scratch: &Scratch, settings: &[(&str, &str)]) -> Result<(Duration, u64), String> {
    let began = Instant::now();
    let mut command = Command::new(PROGRAM);
    command.env_clear().envs(settings.iter().copied()).envs([
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("LOG_LEVEL", "ERROR"),
    ]);
    let child = command.current_dir(&scratch.0).stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    let mut server = Running(child);
    let stdout = server.0.stdout.take().ok_or("standard output is a pipe")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
    let address = line.trim().strip_prefix("listening on http://").ok_or("the server did not come up")?;
    fetch(address.parse().map_err(|_| format!("{address} is no address"))?, "/")?;
    let took = began.elapsed();
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", server.0.id())).map_err(|error| error.to_string())?;
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).ok_or("statm has pages")?;
    Ok((took, pages * 4096))
}

/// A process that is killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A working directory of the server.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Scratch> {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("start-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Scratch(path))
    }

    fn clear(&self) {
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let _ = std::fs::remove_file(self.0.join(format!("cortex.db{suffix}")));
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
