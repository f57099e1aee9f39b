//! PEM as Go's `encoding/pem` reads it.
//!
//! Whether an identity is well formed hangs on what the reader leaves behind and on what it skips, so no
//! other reader will do: the same certificate with a line of text in front of it is an identity to Fabric,
//! with an empty line behind it, it is none.

/// The first block of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pem<'a> {
    /// Between `-----BEGIN ` and the dashes.
    pub(crate) label: &'a [u8],
    /// The decoded contents.
    pub(crate) contents: Vec<u8>,
    /// Whether bytes follow the line with the end mark.
    pub(crate) trailing: bool,
}

impl<'a> Pem<'a> {
    /// Finds the first block that decodes; nothing if there is none. Takes time linear in the input's length.
    pub(crate) fn find(text: &'a [u8]) -> Option<Self> {
        let mut rest = text;
        loop {
            let end = find(rest, END)?;
            let (before_end, from_end) = rest.split_at_checked(end)?;
            let after_end = from_end.get(END.len()..)?;
            let begun = rfind(before_end, BEGIN).filter(|at| starts_line(before_end, *at));
            let block = begun.and_then(|at| before_end.get(at + BEGIN.len()..));
            if let Some(pem) = block.and_then(|block| Self::read(block, after_end)) {
                return Some(pem);
            }
            rest = after_end;
        }
    }

    /// Reads the block that lies between the begin mark and the end mark.
    fn read(block: &'a [u8], after_end: &'a [u8]) -> Option<Self> {
        // The newline that belongs to the end mark may also be the one that ends the first line.
        let (first_line, mut body) = line(block);
        let label = first_line.strip_suffix(DASHES)?;
        while !body.is_empty() {
            let (header, next) = line(body);
            if !header.contains(&b':') {
                break;
            }
            body = next;
        }
        let trailer = after_end.strip_prefix(label)?.strip_prefix(DASHES)?;
        let (rest_of_line, after) = line(trailer);
        if !rest_of_line.is_empty() {
            return None;
        }
        let contents = base64(body)?;
        Some(Self { label, contents, trailing: !after.is_empty() })
    }
}

fn starts_line(text: &[u8], at: usize) -> bool {
    at == 0 || text.get(at - 1) == Some(&b'\n')
}

/// The first line without its end and trailing blanks, and what follows it.
fn line(text: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match text.iter().position(|byte| *byte == b'\n') {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
        None => (text, &[][..]),
    };
    let line = if rest.len() < text.len() - line.len() {
        line.strip_suffix(b"\r").unwrap_or(line)
    } else {
        line
    };
    let end = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |at| at + 1);
    (line.get(..end).unwrap_or_default(), rest)
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|window| window == mark)
}

fn rfind(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).rposition(|window| window == mark)
}

/// Standard base64 with padding; blanks and line ends are skipped.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut sextets = 0u32;
    let mut count = 0;
    let mut padding = 0;
    for byte in text.iter().filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
        if padding > 0 && *byte != b'=' || padding == 2 {
            return None;
        }
        if *byte == b'=' {
            padding += 1;
            continue;
        }
        sextets = sextets << 6 | u32::from(sextet(*byte)?);
        count += 1;
        if count == 4 {
            out.extend_from_slice(sextets.to_be_bytes().get(1..)?);
            (sextets, count) = (0, 0);
        }
    }
    match (count, padding) {
        (0, 0) => Some(out),
        (2, 2) => {
            out.push((sextets >> 4) as u8);
            Some(out)
        }
        (3, 1) => {
            out.extend_from_slice(((sextets >> 2) as u16).to_be_bytes().as_slice());
            Some(out)
        }
        _ => None,
    }
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// `contents` in PEM, 64 characters a line, as Go writes it.
pub(crate) fn encode(label: &str, contents: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(contents.len() / 3 * 4 + 4);
    for chunk in contents.chunks(3) {
        let mut group = [0; 4];
        for (slot, byte) in group.iter_mut().skip(1).zip(chunk) {
            *slot = *byte;
        }
        let sextets = u32::from_be_bytes(group);
        for position in 0..4 {
            let index = (sextets >> (18 - 6 * position) & 63) as usize;
            let character = ALPHABET.get(index).copied().unwrap_or(b'=');
            text.push(if position <= chunk.len() { character } else { b'=' });
        }
    }
    let mut out = format!("-----BEGIN {label}-----\n").into_bytes();
    for line in text.chunks(64) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    out
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "-----BEGIN X-----\nYWJj\n-----END X-----\n";

    fn contents(text: &str) -> Option<(Vec<u8>, bool)> {
        Pem::find(text.as_bytes()).map(|pem| (pem.contents, pem.trailing))
    }

    #[test]
    fn what_go_accepts_is_accepted() {
        let abc = Some((b"abc".to_vec(), false));
        assert_eq!(contents(BLOCK), abc);
        assert_eq!(contents(&format!("a line of text\n{BLOCK}")), abc);
        assert_eq!(contents(&BLOCK.replace('\n', "\r\n")), abc);
        assert_eq!(contents(BLOCK.trim_end()), abc);
        assert_eq!(contents("-----BEGIN X-----\nName: value\n\nYWJj\n-----END X-----\n"), abc);
        assert_eq!(contents("-----BEGIN X-----  \nYW\t Jj\n-----END X-----  \n"), abc);
        assert_eq!(
            contents("-----BEGIN X-----\nYQ==\n-----END X-----"),
            Some((b"a".to_vec(), false))
        );
        assert_eq!(
            contents("-----BEGIN X-----\nYWI=\n-----END X-----"),
            Some((b"ab".to_vec(), false))
        );
        assert_eq!(contents("-----BEGIN X-----\n-----END X-----\n"), Some((vec![], false)));
        assert_eq!(contents(&format!("{BLOCK}\n")), Some((b"abc".to_vec(), true)));
        assert_eq!(contents(&format!("-----BEGIN Y-----\nno\n{BLOCK}")), abc);
        assert_eq!(contents(&format!("-----BEGIN Y-----\n!\n-----END Y-----\n{BLOCK}")), abc);
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for text in [
            "",
            "-----BEGIN X-----",
            "-----BEGIN X-----\nYWJj\n-----END Y-----\n",
            "-----BEGIN X-----\nYWJj\n-----END X----- more\n",
            "-----BEGIN X-----\nYWJ\n-----END X-----\n",
            "-----BEGIN X-----\nYWJj=\n-----END X-----\n",
            " -----BEGIN X-----\nYWJj\n-----END X-----\n",
            "-----BEGIN X\nYWJj\n-----END X-----\n",
        ] {
            assert_eq!(contents(text), None, "{text:?}");
        }
    }

    #[test]
    fn repeated_marks_take_linear_time() {
        let text = "-----BEGIN X-----\n".repeat(50_000) + &"\n-----END Y-----\n".repeat(50_000);
        assert_eq!(contents(&text), None);
    }

    #[test]
    fn what_is_written_is_read() {
        for len in 0..200 {
            let bytes: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
            let text = encode("X", &bytes);
            let pem = Pem::find(&text).unwrap();
            assert_eq!((pem.contents, pem.label, pem.trailing), (bytes, &b"X"[..], false));
        }
    }
}
