//! The program against a real etcd.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

/// Ends the server with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|free| free.local_addr())
        .expect("a free port")
        .port()
}

#[test]
fn it_takes_the_lock_and_gives_it_back() {
    let data = tempfile::tempdir().expect("a folder");
    let Ok(etcd) = etcd_bin_vendored::etcd_bin_path() else { return };
    let (client, peer) =
        (format!("http://127.0.0.1:{}", free_port()), format!("http://127.0.0.1:{}", free_port()));
    let server = Command::new(etcd)
        .arg("--data-dir")
        .arg(data.path())
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _server = Server(server.expect("etcd starts"));
    // The library tries until the server answers, or its own time is up.
    let output = Command::new(env!("CARGO_BIN_EXE_first-lock")).arg(&client).output().expect("it runs");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("fencing token"), "{told}{errors}");
}
