//! A tar file, piece by piece (POSIX ustar): what every computer can open.

use chrono::{DateTime, Utc};

const BLOCK: usize = 512;

/// A file with its header, filled up to whole blocks.
pub fn entry(name: &str, content: &[u8], at: DateTime<Utc>) -> Vec<u8> {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    // 99 bytes at most; ids and names of ours are shorter, and what is cut still has its end.
    let name = &name.as_bytes()[name.len().saturating_sub(99)..];
    put(0, name);
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, format!("{:011o}\0", at.timestamp().max(0)).as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// The end of the file: two empty blocks.
pub fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_the_file_and_adds_up() {
        let at = DateTime::from_timestamp(1_780_308_000, 0).expect("a moment");
        let bytes = entry("case.json", b"{}", at);
        assert_eq!(bytes.len(), 2 * BLOCK);
        assert!(bytes.starts_with(b"case.json\0"));
        assert_eq!(&bytes[124..136], b"00000000002\0");
        assert_eq!(&bytes[257..263], b"ustar\0");
        let mut blank = bytes[..BLOCK].to_vec();
        blank[148..156].copy_from_slice(b"        ");
        let sum: u32 = blank.iter().map(|b| u32::from(*b)).sum();
        assert_eq!(&bytes[148..154], format!("{sum:06o}").as_bytes());
        assert_eq!(&bytes[BLOCK..BLOCK + 3], b"{}\0");
    }
}
