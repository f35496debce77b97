//! The command under a lock: its exit code, its input, output, arguments and environment; waiting and not waiting.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::ctl::{Look, Running, run, shared, start, tenurectl};

#[test]
fn the_commands_exit_code_is_passed_on_and_nothing_is_left() {
    let server = shared();
    for code in [0, 7, 255] {
        let ended = run(&server.endpoint(), ["lock", "cmd/code", "--", "sh", "-c", &format!("exit {code}")]);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert_eq!(ended.err, "");
    }
    assert_eq!(Look::into(&server.endpoint()).all("cmd/code"), []);
}

#[test]
fn a_command_that_dies_of_a_signal_gives_128_and_its_number() {
    let server = shared();
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("INT", 130)] {
        let ended =
            run(&server.endpoint(), ["lock", "cmd/signal", "--", "sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(ended.code, Some(code), "{signal}: {ended:?}");
    }
}

#[test]
fn a_command_that_is_not_there_gives_127_and_one_that_cannot_be_executed_126() {
    let server = shared();
    let ended = run(&server.endpoint(), ["lock", "cmd/none", "--", "no-such-command-here"]);
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (Some(127), "tenurectl: no-such-command-here: command not found\n")
    );
    let ended = run(&server.endpoint(), ["lock", "cmd/none", "--", "/proc"]);
    assert_eq!(ended.code, Some(126), "{ended:?}");
    assert_eq!(Look::into(&server.endpoint()).all("cmd/none"), []);
}

#[test]
fn bad_usage_gives_2_and_one_line_that_says_what_is_allowed() {
    let server = shared();
    for (args, words) in [
        (vec!["lock", "n", "--ttl", "0", "--", "true"], "0 is not in 1..=86400"),
        (vec!["lock", "n", "--ttl", "4", "--grace", "3", "--", "true"], "--grace 3: at most half of --ttl 4"),
        (vec!["lock", "n", "--wait", "soon", "--", "true"], "a number of seconds"),
        (vec!["lock", "n", "--wait", "1", "--try", "--", "true"], "cannot be used with"),
        (vec!["lock", "n/", "--", "true"], "must not end with a slash"),
        (vec!["rwlock", "n", "--", "true"], "--read|--write"),
        (vec!["elect", "n"], "<VALUE>"),
        (vec!["lock", "n", "--endpoints", "ftp://x", "--", "true"], "ftp://x"),
        (vec!["lock", "n", "--cert", "c.pem", "--", "true"], "--cert and --key"),
        (vec!["lock", "n", "--config", "/none.toml", "--", "true"], "/none.toml: No such file"),
    ] {
        let ended = run(&server.endpoint(), &args);
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(ended.err.replace('\n', " ").contains(words), "{args:?}: {}", ended.err);
    }
}

#[test]
fn an_etcd_that_is_not_there_gives_122_in_the_time_that_was_allowed() {
    let began = Instant::now();
    let ended = run("http://127.0.0.1:1", ["lock", "n", "--connect-timeout", "0.5", "--", "true"]);
    assert_eq!(ended.code, Some(122), "{ended:?}");
    assert!(ended.err.contains("no etcd endpoint answered within 500ms"), "{}", ended.err);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn input_output_and_arguments_are_the_commands_own() {
    let server = shared();
    let mut command =
        tenurectl(["lock", "cmd/io", "--", "sh", "-c", "cat; printf '%s|' \"$@\"; echo; echo err >&2", "sh"]);
    command
        .args(["a b", "--ttl", "", "$HOME"])
        .env("TENURE_ENDPOINTS", server.endpoint())
        .stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(b"from outside\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "from outside\na b|--ttl||$HOME|\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
}

#[test]
fn the_command_gets_name_key_token_lease_and_deadline_in_its_environment() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let script = "echo $TENURE_NAME; echo $TENURE_KEY; echo $TENURE_TOKEN; echo $TENURE_LEASE; echo $TENURE_TTL_MS; \
                  echo $TENURE_DEADLINE_UNIX_MS; date +%s%3N; echo $ETCD_LOCK_KEY; read x";
    let mut command = tenurectl(["lock", "cmd/env", "--ttl", "5", "--", "sh", "-c", script]);
    command.env("TENURE_ENDPOINTS", server.endpoint()).stdin(Stdio::piped());
    let running = Running::of(command);
    let said: Vec<String> = (0..8).map(|_| running.line()).collect();
    let line = look.line("cmd/env");
    let key = String::from_utf8_lossy(&line[0].key).into_owned();
    assert_eq!(said[0], "cmd/env");
    assert_eq!(said[1], key);
    assert_eq!(said[2], line[0].create_revision.to_string());
    assert_eq!(said[3], format!("{:x}", line[0].lease));
    assert_eq!(said[4], "5000");
    let (deadline, now): (i64, i64) = (said[5].parse().unwrap(), said[6].parse().unwrap());
    assert!((1..=5000).contains(&(deadline - now)), "{deadline} {now}");
    assert_eq!(said[7], key);
}

#[test]
fn try_gives_124_or_what_is_asked_for_while_another_holds() {
    let server = shared();
    let holder = start(&server.endpoint(), ["lock", "cmd/try"]);
    holder.line();
    for kind in [vec!["lock"], vec!["elect"], vec!["rwlock", "-x"], vec!["rwlock", "-r"]] {
        // A read-write lock on a mutex's name is refused; it has a name of its own.
        let name = if kind[0] == "rwlock" { "cmd/try-rw" } else { "cmd/try" };
        let _writer = (kind[0] == "rwlock").then(|| {
            let writer = start(&server.endpoint(), ["rwlock", "-x", name]);
            writer.line();
            writer
        });
        let mut args = kind.clone();
        args.push(name);
        if kind[0] == "elect" {
            args.push("me");
        }
        let plain = [&args[..], &["--try", "--", "true"]].concat();
        let ended = run(&server.endpoint(), &plain);
        assert_eq!((ended.code, ended.err.as_str()), (Some(124), ""), "{plain:?}");
        let chosen = [&args[..], &["--try", "-E", "9", "-v", "--", "true"]].concat();
        let ended = run(&server.endpoint(), &chosen);
        assert_eq!(ended.code, Some(9), "{chosen:?}");
        assert!(ended.err.contains("is not free"), "{}", ended.err);
    }
}

#[test]
fn a_wait_that_is_over_gives_124_and_leaves_the_line() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let holder = start(&server.endpoint(), ["lock", "cmd/wait"]);
    holder.line();
    let ended = run(&server.endpoint(), ["lock", "cmd/wait", "--wait", "0.3", "--", "true"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(124), ""));
    assert_eq!(look.line("cmd/wait").len(), 1);
    let ended = run(&server.endpoint(), ["lock", "cmd/wait", "--wait", "0", "--", "true"]);
    assert_eq!(ended.code, Some(124));

    let waiter = start(&server.endpoint(), ["lock", "cmd/wait", "--wait", "60", "--", "echo", "mine"]);
    look.until_in_line("cmd/wait", 2);
    holder.signal(rustix::process::Signal::TERM);
    assert_eq!(holder.end().code, Some(0));
    assert_eq!(waiter.line(), "mine");
    assert_eq!(waiter.end().code, Some(0));
}

#[test]
fn many_at_once_lose_no_increment() {
    let server = shared();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("counter");
    std::fs::write(&file, "0").expect("written");
    let script = format!("n=$(cat {0}); echo $((n + 1)) > {0}", file.display());
    let running: Vec<_> =
        (0..8).map(|_| start(&server.endpoint(), ["lock", "cmd/many", "--", "sh", "-c", &script])).collect();
    for ended in running.into_iter().map(Running::end) {
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("read").trim(), "8");
}

#[test]
fn without_a_command_the_key_is_printed_and_held_until_a_signal() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let holder = start(&server.endpoint(), ["lock", "cmd/bare"]);
        let key = holder.line();
        assert_eq!(String::from_utf8_lossy(&look.line("cmd/bare")[0].key), key);
        holder.signal(signal);
        assert_eq!(holder.end().code, Some(0));
        assert_eq!(look.all("cmd/bare"), []);
    }
}

#[test]
fn verbose_tells_when_it_is_held_and_when_released() {
    let server = shared();
    let ended = run(&server.endpoint(), ["lock", "cmd/verbose", "-v", "--", "true"]);
    let lines: Vec<&str> = ended.err.lines().collect();
    assert!(lines[0].starts_with("tenurectl: cmd/verbose is held, token "), "{lines:?}");
    assert_eq!(lines[1], "tenurectl: cmd/verbose is released");
}

#[test]
fn there_is_a_completion_script_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = tenurectl(["completions", shell]).output().expect("it runs");
        let script = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(script.contains("rwlock") && script.contains("password-file"), "{shell}");
        assert!(!script.contains("guardian"), "{shell} completes what is no user's");
    }
}
