//! Seeks of every kind, good and bad, against a ledger in memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use prost::Message as _;

use super::Sharing;
use crate::dev::bench::{Bench, Who, block};
use crate::fabric::envelope::{self, Contents};
use crate::fabric::shapes::{
    DeliverResponse, Entries, Envelope, Nothing, Position, Reply, SeekInfo, SeekPosition, kind,
};
use crate::grpc::server::{Caller, Replies};

const NEWEST: SeekPosition = SeekPosition::NEWEST;
const OLDEST: SeekPosition = SeekPosition { position: Some(Position::Oldest(Nothing {})) };

fn seek(start: SeekPosition, stop: SeekPosition) -> SeekInfo {
    SeekInfo { start: Some(start), stop: Some(stop), ..SeekInfo::default() }
}

fn sealed(bench: &Bench, who: Who, seek: &SeekInfo) -> Envelope {
    let contents = Contents {
        kind: kind::DELIVER_SEEK_INFO,
        channel: &bench.channel,
        tls_cert_hash: Bytes::new(),
        is_transaction: false,
        data: seek.encode_to_vec().into(),
    };
    bench.signer(who).seal(contents).unwrap()
}

fn ask(bench: &Bench, envelopes: Vec<Bytes>) -> Replies {
    let requests = stream::iter(envelopes.into_iter().map(Ok)).chain(stream::pending());
    bench.deliver.serve(Caller::default(), requests)
}

/// A block's number, or a status with its sign turned.
async fn next(replies: &mut Replies) -> Option<i64> {
    let limit = Duration::from_secs(20);
    let reply = tokio::time::timeout(limit, replies.next()).await.expect("an answer in time")?;
    let reply = DeliverResponse::decode(reply.unwrap()).unwrap().reply.unwrap();
    Some(match reply {
        Reply::Status(status) => -i64::from(status),
        Reply::Block(bytes) => block(&bytes).number.get() as i64,
    })
}

async fn check(bench: &Bench, seek: SeekInfo, expect: &[i64]) {
    let envelope = sealed(bench, Who::Peer, &seek).encode_to_vec();
    let mut replies = ask(bench, vec![envelope.into()]);
    for expected in expect {
        assert_eq!(next(&mut replies).await, Some(*expected), "{seek:?}");
    }
}

#[tokio::test]
async fn positions_mean_what_they_mean_in_fabric() {
    let bench = Bench::with_blocks(4).await;
    let at = SeekPosition::at;
    check(&bench, seek(OLDEST, NEWEST), &[0, 1, 2, 3, -200]).await;
    check(&bench, seek(NEWEST, NEWEST), &[3, -200]).await;
    check(&bench, seek(at(2), at(3)), &[2, 3, -200]).await;
    check(&bench, seek(at(3), at(2)), &[-400]).await;
    check(&bench, SeekInfo { stop: None, ..seek(OLDEST, NEWEST) }, &[-400]).await;
    check(&bench, SeekInfo { start: None, ..seek(OLDEST, NEWEST) }, &[-400]).await;
    check(&bench, SeekInfo { behavior: 7, ..seek(OLDEST, NEWEST) }, &[-400]).await;
}

#[tokio::test]
async fn a_seek_beyond_the_end_fails_or_waits_as_it_asks() {
    let bench = Bench::with_blocks(3).await;
    let seek = seek(SeekPosition::at(2), SeekPosition::at(u64::MAX));
    let impatient = SeekInfo { behavior: SeekInfo::FAIL_IF_NOT_READY, ..seek };
    check(&bench, impatient, &[2, -404]).await;
    let envelope = sealed(&bench, Who::Peer, &seek).encode_to_vec();
    let mut replies = ask(&bench, vec![envelope.into()]);
    assert_eq!(next(&mut replies).await, Some(2));
    let waiting = tokio::time::timeout(Duration::from_millis(100), replies.next()).await;
    assert!(waiting.is_err(), "nothing is there");
    bench.grow(2).await;
    assert_eq!(next(&mut replies).await, Some(3));
    assert_eq!(next(&mut replies).await, Some(4));
}

#[tokio::test]
async fn one_stream_serves_seek_after_seek_until_one_is_refused() {
    let bench = Bench::with_blocks(2).await;
    let good: Bytes = sealed(&bench, Who::Peer, &seek(NEWEST, NEWEST)).encode_to_vec().into();
    let mut replies =
        ask(&bench, vec![good.clone(), good.clone(), Bytes::from_static(b"\xff"), good]);
    for expected in [Some(1), Some(-200), Some(1), Some(-200), Some(-400), None] {
        assert_eq!(next(&mut replies).await, expected);
    }
}

#[tokio::test]
async fn malformed_envelopes_unknown_channels_and_people_without_rights_get_their_status() {
    let bench = Bench::with_blocks(2).await;
    let seek = seek(OLDEST, NEWEST);
    let good = sealed(&bench, Who::Peer, &seek);
    let bad_signature = {
        let mut signature = good.signature.to_vec();
        signature[10] ^= 1;
        Envelope { signature: signature.into(), ..good.clone() }
    };
    let no_header = Envelope { payload: Bytes::from_static(b"\x12\x00"), ..good.clone() };
    let other_channel = {
        let channel = gossip_api::ChannelId::new("other").unwrap();
        let contents = Contents {
            kind: kind::DELIVER_SEEK_INFO,
            channel: &channel,
            tls_cert_hash: Bytes::new(),
            is_transaction: false,
            data: seek.encode_to_vec().into(),
        };
        bench.signer(Who::Peer).seal(contents).unwrap()
    };
    let stranger = sealed(&bench, Who::Stranger, &seek);
    let expired = sealed(&bench, Who::Expired, &seek);
    for (envelope, status, what) in [
        (no_header, -400, "no header"),
        (other_channel, -404, "unknown channel"),
        (bad_signature, -403, "bad signature"),
        (stranger, -403, "stranger"),
        (expired, -403, "expired"),
    ] {
        let mut replies = ask(&bench, vec![envelope.encode_to_vec().into()]);
        assert_eq!(next(&mut replies).await, Some(status), "{what}");
        assert_eq!(next(&mut replies).await, None, "{what} ends the stream");
    }
}

#[tokio::test]
async fn who_expires_while_streaming_gets_nothing_more() {
    let bench = Bench::with_blocks(2).await;
    let endless = seek(SeekPosition::at(1), SeekPosition::at(u64::MAX));
    let envelope = sealed(&bench, Who::ExpiresSoon, &endless).encode_to_vec();
    let mut replies = ask(&bench, vec![envelope.into()]);
    assert_eq!(next(&mut replies).await, Some(1));
    assert_eq!(next(&mut replies).await, Some(-403));
    bench.grow(1).await;
    assert_eq!(next(&mut replies).await, None);
}

#[tokio::test]
async fn a_request_is_bound_to_the_certificate_that_tls_showed() {
    let bench = Bench::mutual(2).await;
    let seek = seek(NEWEST, NEWEST);
    let request = |hash: &[u8]| {
        let contents = Contents {
            kind: kind::DELIVER_SEEK_INFO,
            channel: &bench.channel,
            tls_cert_hash: Bytes::copy_from_slice(hash),
            is_transaction: false,
            data: seek.encode_to_vec().into(),
        };
        Bytes::from(bench.signer(Who::Peer).seal(contents).unwrap().encode_to_vec())
    };
    for (leaf, hash, status) in [
        (Some([7; 32]), &[7; 32][..], 1),
        (Some([7; 32]), &[8; 32], -400),
        (Some([7; 32]), &[], -400),
        (None, &[7; 32], -400),
    ] {
        let caller = Caller { leaf_hash: leaf, address: "test".into() };
        let requests = stream::iter([Ok(request(hash))]).chain(stream::pending());
        let mut replies = bench.deliver.serve(caller, requests);
        assert_eq!(next(&mut replies).await, Some(status), "{leaf:?} {hash:?}");
    }
}

#[tokio::test]
async fn a_request_signed_a_quarter_of_an_hour_ago_is_refused() {
    let bench = Bench::with_blocks(2).await;
    for (age, status) in [(14 * 60, 1), (16 * 60, -400), (-16 * 60, -400)] {
        let envelope = bench.sealed_at(envelope::now().seconds - age, &seek(NEWEST, NEWEST));
        let mut replies = ask(&bench, vec![envelope.encode_to_vec().into()]);
        assert_eq!(next(&mut replies).await, Some(status), "{age}");
    }
}

#[tokio::test]
async fn headers_come_without_data_and_config_blocks_whole() {
    let bench = Bench::with_blocks(2).await;
    let seek = SeekInfo { content_type: SeekInfo::HEADER_WITH_SIG, ..seek(OLDEST, NEWEST) };
    let mut replies = ask(&bench, vec![sealed(&bench, Who::Peer, &seek).encode_to_vec().into()]);
    for is_config in [true, false] {
        let reply = replies.next().await.unwrap().unwrap();
        let Some(Reply::Block(bytes)) = DeliverResponse::decode(reply).unwrap().reply else {
            panic!("a block")
        };
        let block = block(&bytes);
        assert_eq!(!block.data.is_empty(), is_config);
        assert_eq!(Entries::decode(block.metadata).unwrap().entries.len(), 5);
    }
}

#[tokio::test]
async fn many_readers_of_old_and_new_blocks_cost_one_read_of_the_store() {
    let bench = Bench::with_blocks(30).await;
    let endless = seek(OLDEST, SeekPosition::at(39));
    let envelope: Bytes = sealed(&bench, Who::Peer, &endless).encode_to_vec().into();
    let readers = (0..50).map(|_| {
        let mut replies = ask(&bench, vec![envelope.clone()]);
        async move {
            for number in 0..40 {
                assert_eq!(next(&mut replies).await, Some(number));
            }
        }
    });
    let growth = async {
        while bench.reads() < 30 {
            tokio::task::yield_now().await;
        }
        bench.grow(10).await;
    };
    futures_util::future::join(futures_util::future::join_all(readers), growth).await;
    assert_eq!(bench.reads(), 30, "old blocks once, new ones not at all");
}

/// Room for about ten blocks of the bench's.
const LITTLE: Sharing =
    Sharing { lane_bytes_max: 12_000, patience_max: Duration::from_millis(300) };

/// Readers of all of `count` blocks, each with its pauses; how long each took, in their order.
async fn race(bench: &Bench, count: i64, pauses: &[fn(i64) -> u64]) -> Vec<Duration> {
    let whole = seek(OLDEST, SeekPosition::at(count as u64 - 1));
    let envelope: Bytes = sealed(bench, Who::Peer, &whole).encode_to_vec().into();
    let readers = pauses.iter().map(|pause| {
        let mut replies = ask(bench, vec![envelope.clone()]);
        async move {
            let started = Instant::now();
            for number in 0..count {
                assert_eq!(next(&mut replies).await, Some(number));
                tokio::time::sleep(Duration::from_millis(pause(number))).await;
            }
            started.elapsed()
        }
    });
    futures_util::future::join_all(readers).await
}

#[tokio::test]
async fn fifty_readers_of_many_old_blocks_stay_together_and_each_block_is_read_once() {
    let bench = Bench::sharing(120, LITTLE).await;
    // Alike on the whole, and each faster than the others at its time.
    let pauses: [fn(i64) -> u64; 5] = [
        |number| (number as u64 / 20) % 2 * 4,
        |number| (number as u64 / 20 + 1) % 2 * 4,
        |_| 2,
        |number| u64::from(number % 10 == 9) * 20,
        |number| u64::from(number % 30 == 0) * 60,
    ];
    race(&bench, 120, &pauses.repeat(10)).await;
    let reads = bench.reads();
    assert!(reads <= 126, "{reads} reads of 120 blocks");
}

#[tokio::test]
async fn a_reader_that_stops_is_left_behind_and_costs_reads_for_itself_alone() {
    let bench = Bench::sharing(100, LITTLE).await;
    let whole = sealed(&bench, Who::Peer, &seek(OLDEST, SeekPosition::at(99))).encode_to_vec();
    let mut stopped = ask(&bench, vec![whole.into()]);
    assert_eq!(next(&mut stopped).await, Some(0));
    let took = race(&bench, 100, &[(|_| 1) as fn(i64) -> u64; 10]).await;
    let longest = took.iter().max().unwrap();
    assert!(*longest < Duration::from_secs(5), "100 blocks took {longest:?}");
    assert!(bench.reads() <= 105, "{} reads while one stood still", bench.reads());
    for number in 1..100 {
        assert_eq!(next(&mut stopped).await, Some(number), "nothing is lost to it");
    }
    assert!(bench.reads() <= 205, "{} reads in all", bench.reads());
}

#[tokio::test]
async fn a_slow_reader_holds_others_up_for_half_of_their_time_at_most() {
    let bench = Bench::sharing(200, LITTLE).await;
    let pauses: [fn(i64) -> u64; 4] = [|_| 5, |_| 5, |_| 5, |_| 60];
    let took = race(&bench, 200, &pauses).await;
    let (fast, slow) = (took[..3].iter().max().unwrap(), took[3]);
    assert!(*fast * 2 < slow, "{fast:?} beside {slow:?}");
    assert!(bench.reads() <= 400 + 10, "{} reads of 200 blocks", bench.reads());
}

#[tokio::test]
async fn who_asks_nothing_is_not_waited_for_and_who_has_asked_may_rest() {
    let bench = Bench::impatient(Duration::from_millis(200)).await;
    let mut silent = ask(&bench, Vec::new());
    let ended = tokio::time::timeout(Duration::from_secs(10), silent.next()).await;
    assert!(ended.expect("the stream ends").is_none());
    let good: Bytes = sealed(&bench, Who::Peer, &seek(NEWEST, NEWEST)).encode_to_vec().into();
    let mut resting = ask(&bench, vec![good]);
    assert_eq!(next(&mut resting).await, Some(0));
    assert_eq!(next(&mut resting).await, Some(-200));
    let open = tokio::time::timeout(Duration::from_millis(500), resting.next()).await;
    assert!(open.is_err(), "it may ask again");
}

#[tokio::test]
async fn a_server_that_stops_tells_its_clients() {
    let bench = Bench::with_blocks(2).await;
    let endless = seek(SeekPosition::at(1), SeekPosition::at(u64::MAX));
    let mut replies = ask(&bench, vec![sealed(&bench, Who::Peer, &endless).encode_to_vec().into()]);
    assert_eq!(next(&mut replies).await, Some(1));
    bench.deliver.stopping().cancel();
    assert_eq!(next(&mut replies).await, Some(-503));
    assert_eq!(next(&mut replies).await, None);
}
