//! Doors of `gossip-api`: what strangers send before and after the hello.
#![allow(unreachable_pub, dead_code, reason = "a module of several programs")]

use bytes::Bytes;
use gossip_api::message::{Class, Hello, WIRE_VERSION, codec};
use gossip_api::{Envelope, Message};

/// A target's name and its body.
pub type Door = (&'static str, fn(&[u8]));

/// Every door.
pub const DOORS: [Door; 3] = [("frame", frame), ("message", message), ("hello", hello)];

/// A frame without its length, as the transport hands it up.
pub fn frame(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    let Ok(envelope) = Envelope::decode(&frame) else { return };
    let again = envelope.encode().expect("what was read is within its caps").concat();
    assert_eq!(again.split_at(4).1, &frame[..], "another encoding of the same frame");
    assert_eq!(again.len(), envelope.encoded_len());
    open(envelope);
}

/// A body, its payload, and in the last two bytes how long the payload is: the frame around them is given.
pub fn message(bytes: &[u8]) {
    let Some((rest, payload_len)) = bytes.split_last_chunk::<2>() else { return };
    let payload_len = usize::from(u16::from_le_bytes(*payload_len));
    let Some(body_len) = rest.len().checked_sub(payload_len) else { return };
    let (body, payload) = rest.split_at(body_len);
    for class in 1..=3 {
        let mut frame = vec![WIRE_VERSION, class];
        frame.extend((body.len() as u64).to_le_bytes());
        frame.extend(body);
        frame.extend(0u64.to_le_bytes());
        frame.extend(payload);
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        if let Ok(envelope) = Envelope::decode(&frame.into()) {
            assert!(codec::peek(length, WIRE_VERSION, class).is_ok());
            open(envelope);
        }
    }
}

/// What [`message`] takes, from a frame with its length.
pub fn message_seed(frame: &[u8]) -> Option<Vec<u8>> {
    let envelope = Envelope::decode(&Bytes::copy_from_slice(frame.get(4..)?)).ok()?;
    let head = frame.len().checked_sub(22 + envelope.body().len() + envelope.signature().len())?;
    let payload = frame.get(frame.len() - head..)?;
    let len = u16::try_from(payload.len()).ok()?.to_le_bytes();
    Some([envelope.body(), payload, &len].concat())
}

/// Opens a frame: what opens is encoded in the same bytes again, and says of itself what there is to say.
fn open(envelope: Envelope) {
    let Ok(signed) = envelope.open() else { return };
    let message = &signed.message;
    let again = Envelope::unsigned(message);
    assert_eq!(again.body(), signed.envelope.body(), "another encoding of the same message");
    assert_eq!(again.class(), signed.envelope.class());
    let signature = signed.envelope.signature().len();
    assert_eq!(again.encoded_len() + signature, signed.envelope.encoded_len());
    assert!(message.kind().class() != Class::Control || message.block().is_none());
    let told = (message.origin(), message.tag(), message.channel(), message.header());
    assert_eq!(told.3.kind, message.kind());
    records_in(message);
}

/// The sealed records inside a message are read in the same way.
fn records_in(message: &Message) {
    if let Message::MembershipRequest(request) = message {
        sealed(&request.me.record);
    }
    if let Message::MembershipResponse(response) = message {
        response.alive.as_slice().iter().for_each(|entry| sealed(&entry.record));
    }
}

fn sealed(record: &gossip_api::message::SealedRecord) {
    if let Ok((record, signed)) = record.open() {
        let again = Envelope::unsigned(&Message::Record(record));
        assert_eq!(again.body(), signed.envelope.body());
    }
}

/// The body of a hello.
pub fn hello(bytes: &[u8]) {
    let Ok(hello) = Hello::decode(bytes) else { return };
    let again = hello.encode().expect("what was read is within its bounds");
    assert_eq!(again.split_at(4).1, bytes, "another encoding of the same hello");
}
