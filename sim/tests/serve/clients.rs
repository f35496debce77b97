//! The examples in `examples/serve/`: shell scripts with etcdctl and a program in Python keep one counter right, by fencing, while
//! faults come by seed.

use std::path::{Path, PathBuf};
use std::process::Command;

use etcd_client::{Client, GetOptions};

use super::serve;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/serve")
}

/// A Python that has the client: `TENURE_PYTHON`, or `python3`.
fn python() -> Option<String> {
    let python = std::env::var("TENURE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python).args(["-c", "import aetcd"]).output();
    if has.is_ok_and(|has| has.status.success()) {
        return Some(python);
    }
    println!(
        "skipped in part: {python} has no aetcd (pip install aetcd; TENURE_PYTHON names another Python)"
    );
    None
}

fn etcdctl_is_there() -> bool {
    let there = Command::new("etcdctl").arg("version").output().is_ok();
    if !there {
        println!("skipped in part: etcdctl is not installed (Debian: apt-get install etcd-client)");
    }
    there
}

const EACH: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_and_python_keep_a_counter_right_by_fencing() {
    let flags = ["--members", "3", "--faults", "default", "--seed", "17", "--speed", "3"];
    let serving = serve(&flags).await;
    let endpoints = serving.endpoints().join(",");
    let mut processes = Vec::new();
    let mut start = |program: &str, script: &str, name: &str| {
        let child = Command::new(program)
            .arg(examples().join(script))
            .args([name, &EACH.to_string()])
            .env("ETCDCTL_API", "3")
            .env("ETCDCTL_ENDPOINTS", &endpoints)
            .spawn();
        processes.push((name.to_owned(), child.expect("it starts")));
    };
    if etcdctl_is_there() {
        start("sh", "counter.sh", "shell-1");
        start("sh", "counter.sh", "shell-2");
    }
    if let Some(python) = python() {
        start(&python, "counter.py", "python");
    }
    let expected = processes.len() * EACH;
    let ended = tokio::task::spawn_blocking(move || {
        let mut ended = Vec::new();
        for (name, mut child) in processes {
            ended.push((name, child.wait().expect("it ends")));
        }
        ended
    });
    for (name, status) in ended.await.expect("no panic") {
        assert!(status.success(), "{name} ended with {status}");
    }
    if expected == 0 {
        return;
    }
    let (counter, done) = read(serving.endpoints()).await;
    assert_eq!(counter, expected, "every increment counts once");
    assert_eq!(done, expected, "each left its mark");
}

/// The counter and how many marks there are, from a member that answers.
async fn read(endpoints: &[String]) -> (usize, usize) {
    loop {
        let Ok(mut client) = Client::connect(endpoints, None).await else { continue };
        let Ok(counter) = client.get("counter", None).await else { continue };
        let marks = GetOptions::new().with_prefix().with_count_only();
        let Ok(marks) = client.get("counter/done/", Some(marks)).await else { continue };
        let value = counter.kvs().first().and_then(|kv| kv.value_str().ok()?.parse().ok());
        return (value.unwrap_or(0), usize::try_from(marks.count()).unwrap_or(0));
    }
}
