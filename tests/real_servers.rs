//! What the real servers of `tenure_sim::real` promise to the tests that use them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "real processes are waited for in real time")]
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tenure_sim::real::{Cluster, ClusterOptions, Server, ServerOptions};

const LIMIT: Duration = Duration::from_secs(20);

fn is_running(pid: &str) -> bool {
    // A killed process stays for a while as a zombie, whose command line is empty.
    std::fs::read(PathBuf::from("/proc").join(pid).join("cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn a_server_dies_with_the_process_that_started_it_even_if_that_is_killed() {
    const CHILD: &str = "TENURE_TEST_STARTS_A_SERVER";
    if std::env::var_os(CHILD).is_some() {
        let server = Server::start(&ServerOptions::default()).unwrap();
        println!("\nserver {}", server.pid());
        std::thread::sleep(LIMIT);
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_server_dies_with_the_process_that_started_it_even_if_that_is_killed",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = lines.find_map(|line| Some(line.unwrap().strip_prefix("server ")?.to_owned())).unwrap();
    assert!(is_running(&pid));
    child.kill().unwrap();
    child.wait().unwrap();
    for _ in 0..1000 {
        if !is_running(&pid) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("etcd {pid} is still running");
}

#[test]
fn a_dropped_server_is_gone_and_so_is_its_data() {
    let server = Server::start(&ServerOptions::default()).unwrap();
    let pid = server.pid().to_string();
    assert!(is_running(&pid));
    drop(server);
    assert!(!is_running(&pid));
}

#[test]
fn a_restarted_server_has_its_port_and_its_data() {
    let mut server = Server::start(&ServerOptions::default()).unwrap();
    let endpoint = server.endpoint();
    let indexed = server.metric("etcd_server_proposals_applied_total").unwrap();
    server.kill();
    assert!(!server.is_healthy());
    server.restart().unwrap();
    assert_eq!(server.endpoint(), endpoint);
    assert!(server.metric("etcd_server_proposals_applied_total").unwrap() >= indexed);
}

#[test]
fn a_leader_that_only_hears_or_only_speaks_is_replaced() {
    let mut cluster = Cluster::start(&ClusterOptions::default()).unwrap();
    for hears in [true, false] {
        let old = cluster.wait_for_leader_other_than(usize::MAX, LIMIT).unwrap();
        for other in (0..3).filter(|&other| other != old) {
            if hears {
                cluster.cut(old, other);
            } else {
                cluster.cut(other, old);
            }
        }
        let new = cluster.wait_for_leader_other_than(old, LIMIT).unwrap();
        assert_ne!(new, old);
        cluster.heal_all();
        cluster.wait_healthy().unwrap();
    }
}

#[test]
fn a_member_cut_off_from_all_others_leads_no_more_and_serves_again_when_healed() {
    let mut cluster = Cluster::start(&ClusterOptions::default()).unwrap();
    let old = cluster.wait_for_leader_other_than(usize::MAX, LIMIT).unwrap();
    cluster.isolate(old);
    cluster.wait_for_leader_other_than(old, LIMIT).unwrap();
    for _ in 0..1000 {
        if !cluster.member(old).is_leader() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!cluster.member(old).is_leader());
    assert!(!cluster.member(old).is_healthy());
    cluster.heal_all();
    cluster.wait_healthy().unwrap();
}
