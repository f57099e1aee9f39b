//! A reader of DER with the leniencies of Go's `encoding/asn1`, for the few places where a verdict hangs on them.
//!
//! Certificates and CRLs as wholes are parsed by `x509-cert`; this finds the exact bytes that were signed
//! in them, and reads ECDSA signatures.

/// Why bytes are not DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadDer(pub(crate) &'static str);

/// One element: its tag byte, all of its bytes, and its contents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) whole: &'a [u8],
    pub(crate) contents: &'a [u8],
}

/// Reads elements one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Der<'a> {
    rest: &'a [u8],
}

impl<'a> Der<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The tag byte of the next element, if there is one.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next element, whatever it is.
    pub(crate) fn element(&mut self) -> Result<Element<'a>, BadDer> {
        let (tag, after_tag) = self.rest.split_first().ok_or(TRUNCATED)?;
        if tag & 0x1f == 0x1f {
            return Err(BadDer("tag of more than one byte"));
        }
        let (len, after_len) = length(after_tag)?;
        let (contents, rest) = after_len.split_at_checked(len).ok_or(TRUNCATED)?;
        let (whole, _) = self.rest.split_at(self.rest.len() - rest.len());
        self.rest = rest;
        Ok(Element { tag: *tag, whole, contents })
    }

    /// The next element, which must carry `tag`.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<Element<'a>, BadDer> {
        let element = self.element()?;
        if element.tag == tag { Ok(element) } else { Err(BadDer("unexpected tag")) }
    }

    /// The next element, which must be a positive integer; its bytes without leading zero.
    pub(crate) fn positive_integer(&mut self) -> Result<&'a [u8], BadDer> {
        let bytes = self.expect(INTEGER)?.contents;
        match bytes {
            [] => Err(BadDer("empty integer")),
            [0, second, ..] if *second < 0x80 => Err(BadDer("integer not minimally encoded")),
            [0xff, second, ..] if *second >= 0x80 => Err(BadDer("integer not minimally encoded")),
            [0] => Err(BadDer("integer is zero")),
            [first, ..] if *first >= 0x80 => Err(BadDer("integer is negative")),
            [0, magnitude @ ..] => Ok(magnitude),
            magnitude => Ok(magnitude),
        }
    }
}

/// Reads a length; minimal and definite ones alone are accepted.
fn length(bytes: &[u8]) -> Result<(usize, &[u8]), BadDer> {
    let (first, mut rest) = bytes.split_first().ok_or(TRUNCATED)?;
    if *first < 0x80 {
        return Ok((usize::from(*first), rest));
    }
    if *first == 0x80 {
        return Err(BadDer("indefinite length"));
    }
    let mut len = 0usize;
    for _ in 0..(first & 0x7f) {
        let (byte, tail) = rest.split_first().ok_or(TRUNCATED)?;
        if len >= 1 << 23 {
            return Err(BadDer("length too large"));
        }
        len = len << 8 | usize::from(*byte);
        if len == 0 {
            return Err(BadDer("superfluous leading zeros in length"));
        }
        rest = tail;
    }
    if len < 0x80 { Err(BadDer("non-minimal length")) } else { Ok((len, rest)) }
}

/// The DER element of `tag` around `contents`.
pub(crate) fn encode(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(contents.len() + 6);
    out.push(tag);
    match u8::try_from(contents.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let len = contents.len().to_be_bytes();
            let zeros = len.iter().take_while(|byte| **byte == 0).count();
            out.push(0x80 | (len.len() - zeros) as u8);
            out.extend(len.iter().skip(zeros));
        }
    }
    out.extend_from_slice(contents);
    out
}

/// The integers of an ECDSA signature, big-endian without leading zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EcdsaIntegers<'a> {
    pub(crate) r: &'a [u8],
    pub(crate) s: &'a [u8],
}

impl<'a> EcdsaIntegers<'a> {
    /// Reads `SEQUENCE { INTEGER r, INTEGER s }`; bytes behind s or behind the sequence are ignored, as Go does.
    // fabric: fabric-lib-go bccsp/utils/ecdsa.go UnmarshalECDSASignature
    pub(crate) fn decode(signature: &'a [u8]) -> Result<Self, BadDer> {
        let mut sequence = Der::new(Der::new(signature).expect(SEQUENCE)?.contents);
        Ok(Self { r: sequence.positive_integer()?, s: sequence.positive_integer()? })
    }

    /// The one DER encoding of these integers.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut contents = encode_integer(self.r);
        contents.extend(encode_integer(self.s));
        encode(SEQUENCE, &contents)
    }
}

fn encode_integer(magnitude: &[u8]) -> Vec<u8> {
    if magnitude.first().is_some_and(|first| *first >= 0x80) {
        let mut padded = vec![0];
        padded.extend_from_slice(magnitude);
        return encode(INTEGER, &padded);
    }
    encode(INTEGER, magnitude)
}

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, the version of a certificate.
pub(crate) const CONTEXT_0: u8 = 0xa0;
/// `[0] IMPLICIT` of a primitive type, the key identifier of an authority key identifier.
pub(crate) const CONTEXT_0_PRIMITIVE: u8 = 0x80;

const TRUNCATED: BadDer = BadDer("data truncated");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_ignores_what_follows_a_signature() {
        let plain = [0x30, 6, 2, 1, 5, 2, 1, 7];
        let integers = EcdsaIntegers { r: &[5], s: &[7] };
        assert_eq!(EcdsaIntegers::decode(&plain), Ok(integers));
        assert_eq!(EcdsaIntegers::decode(&[&plain[..], &[0xff]].concat()), Ok(integers));
        assert_eq!(EcdsaIntegers::decode(&[0x30, 8, 2, 1, 5, 2, 1, 7, 5, 0]), Ok(integers));
        assert_eq!(integers.encode(), plain);
    }

    #[test]
    fn go_refuses_other_encodings_of_the_same_integers() {
        for bytes in [
            &[0x30, 7, 2, 2, 0, 5, 2, 1, 7][..],
            &[0x30, 0x81, 6, 2, 1, 5, 2, 1, 7],
            &[0x30, 0x80, 2, 1, 5, 2, 1, 7, 0, 0],
            &[0x30, 6, 2, 1, 5, 2, 1, 0],
            &[0x30, 6, 2, 1, 0x85, 2, 1, 7],
            &[0x30, 5, 2, 0, 2, 1, 7],
            &[0x30, 3, 2, 1, 5],
            &[0x30, 6, 2, 1, 5, 2, 1],
            &[0x31, 6, 2, 1, 5, 2, 1, 7],
            &[],
        ] {
            assert!(EcdsaIntegers::decode(bytes).is_err(), "{bytes:x?}");
        }
    }

    const OCTET_STRING: u8 = 0x04;

    #[test]
    fn long_elements_are_encoded_and_read_back() {
        for len in [0, 1, 127, 128, 255, 256, 70_000] {
            let bytes = encode(OCTET_STRING, &vec![7; len]);
            let element = Der::new(&bytes).expect(OCTET_STRING).unwrap();
            assert_eq!(element.contents.len(), len);
            assert_eq!(element.whole, bytes);
        }
    }
}
