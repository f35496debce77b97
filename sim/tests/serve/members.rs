//! Members on ports of their own: what clients meet when one dies or stands still, and what operators ask.

use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, GetOptions, MemberAddOptions};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{SOON, client, control, serve, until};

/// A client of one member that gives up after a second.
async fn impatient(endpoint: &str) -> Result<Client, Error> {
    let options = ConnectOptions::new().with_timeout(Duration::from_secs(1));
    Client::connect([endpoint], Some(options)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_members_port_refuses_and_serves_again_when_it_is_started() {
    let serving = serve(&["--members", "3", "--control"]).await;
    let endpoints = serving.endpoints().to_vec();
    client(&serving).await.put("kept", "1", None).await.expect("put");
    let address = endpoints[1].trim_start_matches("http://").to_owned();
    let mut open = TcpStream::connect(&address).await.expect("it listens");
    assert_eq!(control(&serving, "/members/m1/kill", Some("")).await.0, 200);
    let mut byte = [0];
    let ended = timeout(SOON, tokio::io::AsyncReadExt::read(&mut open, &mut byte)).await.expect("soon");
    assert!(matches!(ended, Ok(0) | Err(_)), "its connections end with it");
    let refused = TcpStream::connect(&address).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    assert_eq!(control(&serving, "/members/m1/start", Some("")).await.0, 200);
    until("a member that serves again", async || {
        let Ok(mut client) = impatient(&endpoints[1]).await else { return false };
        client.get("kept", None).await.is_ok_and(|read| read.count() == 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_member_takes_connections_and_answers_once_it_goes_on() {
    let serving = serve(&["--members", "3", "--control"]).await;
    let endpoint = serving.endpoints()[2].clone();
    let mut waiting = Client::connect([&endpoint], None).await.expect("connected");
    waiting.get("a", None).await.expect("it serves");
    control(&serving, "/members/m2/pause", Some("")).await;
    let serializable = GetOptions::new().with_serializable();
    let mut asked = Box::pin(waiting.get("a", Some(serializable)));
    assert!(
        timeout(Duration::from_millis(500), &mut asked).await.is_err(),
        "it answered while it stood still"
    );
    TcpStream::connect(endpoint.trim_start_matches("http://")).await.expect("its kernel takes connections");
    control(&serving, "/members/m2/resume", Some("")).await;
    timeout(SOON, asked).await.expect("soon").expect("it goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_between_a_client_and_its_member_holds_bytes_back_until_it_heals() {
    let serving = serve(&["--members", "3", "--control"]).await;
    // The first connection to a member is client 0.
    let mut cut_off = Client::connect([&serving.endpoints()[0]], None).await.expect("connected");
    cut_off.put("a", "1", None).await.expect("put");
    let (_, begun) = control(&serving, "/links/cut", Some(r#"{"from": "c0", "to": "m0"}"#)).await;
    let mut asked = Box::pin(cut_off.put("a", "2", None));
    assert!(timeout(Duration::from_millis(500), &mut asked).await.is_err(), "answered over a cut link");
    let state = control(&serving, "/state", None).await.1;
    assert_eq!(state["revision"], 2, "the request has not arrived");
    let heal = format!("{{\"fault\": {}}}", begun["fault"]);
    assert_eq!(control(&serving, "/heal", Some(&heal)).await.1["healed"][0], begun["fault"]);
    timeout(SOON, asked).await.expect("soon").expect("TCP sends it again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_is_a_broken_connection_and_an_applied_write() {
    let serving = serve(&["--members", "1", "--control"]).await;
    let mut client = Client::connect([serving.endpoint()], None).await.expect("connected");
    let lost = r#"{"kind": "answer-lost", "client": "c0", "per_mille": 1000}"#;
    control(&serving, "/faults", Some(lost)).await;
    timeout(SOON, client.put("a", "1", None)).await.expect("soon").expect_err("no answer comes");
    let state = control(&serving, "/state", None).await.1;
    assert_eq!(state["revision"], 2, "the write is applied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_expire_leaders_move_and_time_steps_as_the_control_service_is_asked() {
    let serving = serve(&["--members", "3", "--control"]).await;
    let mut client = client(&serving).await;
    let lease = client.lease_grant(600, None).await.expect("granted").id();
    let expire = format!("/leases/{lease:x}/expire");
    assert_eq!(control(&serving, &expire, Some("")).await.0, 200);
    let gone = async || {
        let mut client = client.clone();
        client.lease_time_to_live(lease, None).await.is_ok_and(|left| left.ttl() == -1)
    };
    until("the end of the lease", gone).await;
    assert_eq!(control(&serving, &expire, Some("")).await.0, 404);

    for to in ["m0", "m1", "m2"] {
        let asked = format!("{{\"to\": {to:?}}}");
        assert_eq!(control(&serving, "/leader", Some(&asked)).await.0, 200);
        until("another leader", async || control(&serving, "/state", None).await.1["leader"] == to).await;
    }

    let lease = client.lease_grant(600, None).await.expect("granted").id();
    let now = control(&serving, "/state", None).await.1["now_ms"].as_u64().expect("a time");
    let (_, stepped) = control(&serving, "/time/step", Some(r#"{"ms": 700000}"#)).await;
    assert!(stepped["now_ms"].as_u64().expect("a time") >= now + 700_000);
    let left = client.lease_time_to_live(lease, None).await.expect("asked");
    assert_eq!(left.ttl(), -1, "it ran out meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_control_service_cannot_do_it_says_in_a_line() {
    let serving = serve(&["--control"]).await;
    for (path, body, code, said) in [
        ("/members/m7/kill", "", 404, "there is no member m7"),
        ("/members/m0/dance", "", 404, "pause, resume, kill and start"),
        ("/links/cut", "{}", 400, "give \"from\" and \"to\""),
        ("/faults", "{\"kind\": \"flood\"}", 400, "flood"),
        ("/faults", "{\"kind\": \"crash\", \"node\": \"c0\"}", 400, "are real"),
        ("/time/step", "{\"ms\": 9999999999999}", 400, "30 days"),
        ("/heal", "{\"fault\": 3}", 404, "there is no fault 3"),
        ("/leases/xyz/expire", "", 400, "hexadecimal"),
        ("/nothing", "", 404, "no such path"),
    ] {
        let (answered, refused) = control(&serving, path, Some(body)).await;
        assert_eq!(answered, code, "{path}");
        assert!(refused["error"].as_str().expect("an error").contains(said), "{path}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_is_added_promoted_and_removed() {
    let serving = serve(&["--members", "3", "--spares", "1"]).await;
    let mut client = Client::connect(&serving.endpoints()[..3], None).await.expect("connected");
    client.put("a", "1", None).await.expect("put");
    let learner = MemberAddOptions::new().with_is_learner();
    let added = client.member_add(["http://new:2380"], Some(learner)).await.expect("added");
    let id = added.member().expect("a member").id();
    assert_eq!(added.member_list().len(), 4);
    let twice = client.member_add(["http://new:2380"], None).await.expect_err("it is there");
    assert!(twice.to_string().contains("Peer URLs already exists"), "{twice}");
    until("a learner that has caught up", async || client.clone().member_promote(id).await.is_ok()).await;
    let listed = client.member_list().await.expect("listed");
    let member = listed.members().iter().find(|member| member.id() == id).expect("it is a member");
    assert!(!member.is_learner() && member.name() == "m3");
    let mut new = Client::connect([&serving.endpoints()[3]], None).await.expect("connected");
    assert_eq!(new.get("a", None).await.expect("read").count(), 1);
    client.member_remove(id).await.expect("removed");
    assert_eq!(client.member_list().await.expect("listed").members().len(), 3);
    let gone = client.member_remove(id).await.expect_err("it is gone");
    assert!(gone.to_string().contains("etcdserver: member not found"), "{gone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_from_the_leader_alone_and_hashes_agree() {
    let serving = serve(&["--members", "3"]).await;
    client(&serving).await.put("a", "1", None).await.expect("put");
    let mut each = Vec::new();
    for endpoint in serving.endpoints() {
        each.push(Client::connect([endpoint], None).await.expect("connected"));
    }
    let status = each[0].status().await.expect("status");
    let leader = status.leader();
    let mut hashes = Vec::new();
    for client in &mut each {
        // A linearizable read first: then the member has applied all.
        client.get("a", None).await.expect("read");
        hashes.push(client.hash_kv(0).await.expect("a hash").hash());
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    let members = each[0].member_list().await.expect("listed");
    let other = members.members().iter().map(etcd_client::Member::id).find(|id| *id != leader);
    let other = other.expect("another");
    let at = members.members().iter().position(|member| member.id() == leader).expect("listed");
    let refused = each[(at + 1) % 3].move_leader(other).await.expect_err("it does not lead");
    assert!(refused.to_string().contains("etcdserver: not leader"), "{refused}");
    each[at].move_leader(other).await.expect("moved");
    assert_eq!(each[at].status().await.expect("status").leader(), other);
}
