//! The browser page, in a headless Chromium that `drive_page.mjs` drives.

use super::{MESSAGE, example, server};
use crate::common::DEADLINE;
use crate::common::model::Model;
use crate::tools;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

#[test]
fn the_page_works_in_a_browser() {
    let Some((script, chromium)) = tools::browser() else { return };
    let model = Model::start();
    let mut server = server(&model);
    let page = format!("http://localhost:{}/chat.html", serve_page().port());
    let mut driver = Command::new("node")
        .arg(script)
        .args([chromium, &page, &format!("http://{}", server.addr), MESSAGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Node starts");
    let mut input = driver.stdin.take().expect("standard input is a pipe");
    let stdout = driver.stdout.take().expect("standard output is a pipe");
    let (sender, lines) = channel();
    thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
    });
    // Waits until the page shows the text, and lets the driver continue.
    let mut shown = |what: &str| {
        assert_eq!(lines.recv_timeout(2 * DEADLINE).as_deref(), Ok(what));
        writeln!(input, "go on").expect("the driver reads");
    };

    let mut call = model.call();
    assert_eq!(call.prompt(), MESSAGE);
    call.begin().say("Not ");
    shown("a piece");
    call.say("much.");
    call.finish();
    shown("the answer");
    model.call().reject(400, "");
    shown("an error");

    let mut call = model.call();
    call.begin().say("Half of");
    thread::sleep(Duration::from_millis(500));
    server.kill();
    server.start_again();
    shown("an interruption");
    model.call().answer("Back again.");
    shown("another answer");
    assert!(driver.wait().expect("the driver exits").success());
}

/// Serves the page, like `python3 -m http.server`.
fn serve_page() -> SocketAddr {
    let page = fs::read(example("chat.html")).expect("there is a page");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let is_page = socket.read(&mut request).is_ok_and(|n| request[..n].starts_with(b"GET /chat.html "));
            let (status, body) = if is_page { ("200 OK", page.as_slice()) } else { ("404 Not Found", b"".as_slice()) };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            // The browser may have disconnected.
            drop(socket.write_all(&[head.as_bytes(), body].concat()));
        }
    });
    addr
}
