//! Watch responses that are larger than their client takes, and news of quiet watches.

use etcd_client::{Client, WatchOptions, WatchStream};

use super::{SOON, client, serve};

const MIB: usize = 1 << 20;
const PUTS: usize = 10;
/// What the client takes at most in one message.
const LIMIT: usize = MIB + MIB / 2;

/// Puts 10 MiB, then watches from before them: they are all told in one response.
async fn watch_ten_mebibytes(client: &mut Client, fragment: bool) -> WatchStream {
    for number in 0..PUTS {
        client.put(format!("big/{number}"), vec![7; MIB], None).await.expect("put");
    }
    let options = WatchOptions::new().with_prefix().with_start_revision(2);
    let options = if fragment { options.with_fragment() } else { options };
    let mut watches = client.watch_client().max_decoding_message_size(LIMIT);
    watches.watch("big/", Some(options)).await.expect("opened")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_mebibytes_reach_a_client_of_one_and_a_half_in_fragments() {
    let serving = serve(&[]).await;
    let mut client = client(&serving).await;
    let mut watch = watch_ten_mebibytes(&mut client, true).await;
    let (mut events, mut messages) = (Vec::new(), 0);
    while events.len() < PUTS {
        let message = tokio::time::timeout(SOON, watch.message()).await.expect("soon");
        let message = message.expect("no message is too large").expect("the watch goes on");
        messages += usize::from(!message.events().is_empty());
        events.extend(message.events().iter().map(|event| event.kv().expect("a key").key().to_vec()));
    }
    let expected: Vec<Vec<u8>> = (0..PUTS).map(|number| format!("big/{number}").into_bytes()).collect();
    assert_eq!(events, expected, "all of them, once, in order");
    assert_eq!(messages, PUTS, "no two of a MiB fit into what the server takes for its limit, 2 MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_ask_for_fragments_is_told_too_much_at_once() {
    let serving = serve(&[]).await;
    let mut client = client(&serving).await;
    let mut watch = watch_ten_mebibytes(&mut client, false).await;
    let failed = loop {
        match tokio::time::timeout(SOON, watch.message()).await.expect("soon") {
            Ok(Some(message)) => assert!(message.events().is_empty(), "it came whole"),
            Ok(None) => panic!("the stream ended without a word"),
            Err(error) => break error,
        }
    };
    assert!(failed.to_string().contains("decoded message length too large"), "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_watch_is_told_of_its_progress_at_the_interval() {
    let serving = serve(&["--experimental-watch-progress-notify-interval", "2s", "--speed", "20"]).await;
    let mut client = client(&serving).await;
    let options = WatchOptions::new().with_progress_notify();
    let mut watch = client.watch("quiet", Some(options)).await.expect("opened");
    client.put("other", "", None).await.expect("put");
    loop {
        let message = tokio::time::timeout(SOON, watch.message()).await.expect("soon");
        let message = message.expect("a message").expect("the watch goes on");
        assert!(message.events().is_empty());
        if !message.created() && message.header().expect("a header").revision() == 2 {
            break;
        }
    }
}
