//! Event files as TensorBoard reads them: records of protocol buffers with masked CRC-32C.
//!
//! ours, though there are crates: the one that is used by others is no longer kept and brings a
//! picture library and a protocol buffer compiler's output, for six fields.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// An event file that numbers are added to.
#[derive(Debug)]
pub(super) struct Board {
    file: File,
}

impl Board {
    /// Begins a new file. What other files of the run say about later updates than `updates`,
    /// TensorBoard forgets.
    pub(super) fn create(run: &Path, updates: u64) -> io::Result<Self> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!(
            "events.out.tfevents.{:010}.{:09}.nuwa",
            now.as_secs(),
            now.subsec_nanos()
        );
        let file = File::options()
            .create(true)
            .append(true)
            .open(run.join(name))?;
        let mut board = Self { file };
        let mut version = Message::event(0);
        version.bytes(3, b"brain.Event:2");
        board.record(version)?;
        if updates > 0 {
            let mut start = Message::default();
            start.varint(1, 1); // SessionLog.status = START
            let mut session = Message::event(updates + 1);
            session.bytes(7, &start.0);
            board.record(session)?;
        }
        Ok(board)
    }

    /// Adds numbers.
    pub(super) fn scalars(&mut self, updates: u64, values: &[(&str, f64)]) -> io::Result<()> {
        let mut summary = Message::default();
        for (name, number) in values {
            let mut value = Message::default();
            value.bytes(1, name.as_bytes());
            value.float(2, *number as f32);
            summary.bytes(1, &value.0);
        }
        let mut event = Message::event(updates);
        event.bytes(5, &summary.0);
        self.record(event)
    }

    /// Length, its checksum, the message, its checksum; in one write, so that none is torn.
    fn record(&mut self, message: Message) -> io::Result<()> {
        let length = (message.0.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(&message.0);
        record.extend(masked_crc(&message.0).to_le_bytes());
        self.file.write_all(&record)
    }
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// A message of protocol buffers under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// An event at a step, now.
    fn event(step: u64) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut event = Self::default();
        event.key(1, 1);
        event.0.extend(now.as_secs_f64().to_le_bytes());
        event.varint(2, step);
        event
    }

    fn key(&mut self, field: u64, kind: u64) {
        self.number(field << 3 | kind);
    }

    fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    fn varint(&mut self, field: u64, n: u64) {
        self.key(field, 0);
        self.number(n);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first record is the same in every event file, but for the time; the checksum of its
    /// length, 24, is known from files that TensorFlow has written.
    #[test]
    fn records_are_framed_as_tensorflow_frames_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut board = Board::create(folder.path(), 0).expect("created");
        board.scalars(300, &[("loss", 0.5)]).expect("written");
        let file = std::fs::read_dir(folder.path()).expect("a folder").next();
        let bytes =
            std::fs::read(file.expect("a file").expect("readable").path()).expect("readable");
        let (length, rest) = bytes.split_at(8);
        assert_eq!(u64::from_le_bytes(length.try_into().expect("eight")), 26);
        assert_eq!(rest[..4], masked_crc(length).to_le_bytes());
        let version = &rest[4..30];
        assert!(
            version.ends_with(b"\x10\x00\x1a\x0dbrain.Event:2"),
            "{version:?}"
        );
        assert_eq!(rest[30..34], masked_crc(version).to_le_bytes());
        let event = &rest[34 + 12..];
        assert_eq!(event[9..12], [0x10, 0xac, 0x02], "step 300");
        assert_eq!(
            event[12..],
            {
                let mut end = vec![0x2a, 13, 0x0a, 11, 0x0a, 4];
                end.extend(b"loss\x15");
                end.extend(0.5_f32.to_le_bytes());
                end.extend(masked_crc(&event[..event.len() - 4]).to_le_bytes());
                end
            }[..]
        );
    }

    #[test]
    fn the_checksum_is_crc_32c_and_masked() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(
            masked_crc(&[0; 32]),
            0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8)
        );
    }
}
