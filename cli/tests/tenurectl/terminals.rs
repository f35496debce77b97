//! Under a terminal: the command may read from it, and its keys reach everybody whom they are meant for.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tenure_sim::real::Server;

use crate::ctl::{Look, program, shared, until};

/// A shell command on a terminal of its own, and what was printed there.
struct OnTerminal {
    script: Child,
    output: std::path::PathBuf,
    server: Arc<Server>,
    _folder: tempfile::TempDir,
}

impl OnTerminal {
    /// None where util-linux's `script` is not installed, which is said.
    fn run(shell: &str) -> Option<Self> {
        if Command::new("script").arg("--version").output().is_err() {
            println!("skipped: `script` is not installed (Debian: apt-get install bsdutils)");
            return None;
        }
        let server = shared();
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("printed");
        let ctl = format!("{} --endpoints {}", env!("CARGO_BIN_EXE_tenurectl"), server.endpoint());
        let script = program("script")
            .args(["-q", "-e", "-f", "-c", &shell.replace("tenurectl", &ctl)])
            .arg(&output)
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        Some(Self { script, output, server, _folder: folder })
    }

    fn until_printed(&self, words: &str) {
        until(words, || self.printed().contains(words));
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    fn type_in(&mut self, keys: &str) {
        self.script.stdin.as_mut().expect("piped").write_all(keys.as_bytes()).expect("it is typed");
    }

    /// Waits for its end, and gives all that was printed.
    fn end(&mut self) -> String {
        until("it ends", || self.script.try_wait().expect("it can be asked").is_some());
        self.printed()
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

const CTRL_C: &str = "\x03";

#[test]
fn the_command_reads_from_the_terminal() {
    let shell = "tenurectl lock term/read -- sh -c 'echo ready; read x; echo got-$x; exit 3'; echo code-$?";
    let Some(mut terminal) = OnTerminal::run(shell) else { return };
    terminal.until_printed("ready");
    terminal.type_in("hello\n");
    let printed = terminal.end();
    assert!(printed.contains("got-hello") && printed.contains("code-3"), "{printed}");
}

#[test]
fn an_interrupt_from_the_keyboard_ends_the_command_and_the_script_around_it() {
    for reads in ["", "read x;"] {
        let shell = format!(
            "tenurectl lock term/int -- sh -c 'echo ready; {reads} echo on; exec sleep 60'; echo after"
        );
        let Some(mut terminal) = OnTerminal::run(&shell) else { return };
        terminal.until_printed("ready");
        if !reads.is_empty() {
            // With the terminal lent to it.
            terminal.type_in("x\n");
        }
        terminal.until_printed("on");
        terminal.type_in(CTRL_C);
        let printed = terminal.end();
        assert!(!printed.lines().any(|line| line.trim() == "after"), "{printed}");
        assert_eq!(Look::into(&terminal.server.endpoint()).all("term/int"), []);
    }
}
