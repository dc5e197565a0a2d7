//! What stands in front of every sealed run of documents: what it is, where it belongs, how much follows.

use std::fmt;

use bson::{RawDocument, RawDocumentBuf, cstr, rawdoc};

use super::backup_id::BackupId;
use super::oplog::TimelineId;
use super::time::ClusterTime;
use super::{check_version, malformed};
use crate::error::Result;

/// The magic number of the zstd skippable frame that holds a header (RFC 8878, section 3.1.2).
const SKIPPABLE_MAGIC: [u8; 4] = 0x184D_2A5A_u32.to_le_bytes();

/// Bytes before the skippable frame's content.
const FRAME_PREFIX: usize = 8;

/// The one place in a repository that a sealed run of documents belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Documents of one collection.
    Segment {
        /// The backup it belongs to.
        backup: BackupId,
        /// Its number in that backup, from 1.
        number: u64,
    },
    /// The entries of a backup's catalog.
    Catalog {
        /// The backup it belongs to.
        backup: BackupId,
    },
    /// The content of one of a backup's checkpoints.
    Checkpoint {
        /// The backup it belongs to.
        backup: BackupId,
        /// Its number in that backup, from 1.
        number: u32,
    },
    /// Oplog entries behind `begin`, up to and with `end`.
    Slice {
        /// The timeline it belongs to.
        timeline: TimelineId,
        /// The entry before the first.
        begin: ClusterTime,
        /// The last entry.
        end: ClusterTime,
    },
}

impl Subject {
    fn format(&self) -> &'static str {
        match self {
            Self::Segment { .. } => "regrow-segment",
            Self::Catalog { .. } => "regrow-catalog",
            Self::Checkpoint { .. } => "regrow-checkpoint",
            Self::Slice { .. } => "regrow-slice",
        }
    }

    fn append_to(&self, header: &mut RawDocumentBuf) {
        match self {
            Self::Segment { backup, number } => {
                header.append(cstr!("backup"), backup.as_str());
                header.append(cstr!("number"), number.cast_signed());
            }
            Self::Catalog { backup } => {
                header.append(cstr!("backup"), backup.as_str());
                header.append(cstr!("number"), 0_i64);
            }
            Self::Checkpoint { backup, number } => {
                header.append(cstr!("backup"), backup.as_str());
                header.append(cstr!("number"), i64::from(*number));
            }
            Self::Slice { timeline, begin, end } => {
                header.append(cstr!("timeline"), timeline.as_str());
                header.append(cstr!("begin"), bson::Timestamp::from(*begin));
                header.append(cstr!("end"), bson::Timestamp::from(*end));
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment { backup, number } => write!(f, "segment {number} of {backup}"),
            Self::Catalog { backup } => write!(f, "the catalog of {backup}"),
            Self::Checkpoint { backup, number } => write!(f, "checkpoint {number} of {backup}"),
            Self::Slice { timeline, begin, end } => write!(f, "the slice from {begin} to {end} of {timeline}"),
        }
    }
}

/// What stands in front of the documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What follows, and where it belongs.
    pub subject: Subject,
    /// How many documents follow.
    pub documents: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

impl Header {
    /// Returns the header as a zstd skippable frame.
    ///
    /// # Panics
    /// Never: the document is a few hundred bytes.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        let mut document = rawdoc! { "format": self.subject.format(), "version": 1_i32 };
        self.subject.append_to(&mut document);
        document.append(cstr!("documents"), self.documents.cast_signed());
        document.append(cstr!("bytes"), self.bytes.cast_signed());
        let content = document.as_bytes();
        let length = u32::try_from(content.len()).expect("a header is small");
        [&SKIPPABLE_MAGIC[..], &length.to_le_bytes(), content].concat()
    }

    /// Reads the header at the beginning of a zstd stream; returns it and where the data frame begins.
    ///
    /// # Errors
    /// [`Kind::Damaged`](crate::error::Kind::Damaged) when there is no such frame.
    pub fn parse(stream: &[u8]) -> Result<(Self, usize)> {
        let (prefix, rest) = stream.split_at_checked(FRAME_PREFIX).ok_or_else(|| wrong("the stream is too short"))?;
        if prefix[..4] != SKIPPABLE_MAGIC {
            return Err(wrong("the stream does not begin with one"));
        }
        let length = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]) as usize;
        let document = rest.get(..length).ok_or_else(|| wrong("it is cut off"))?;
        let fields = RawDocument::from_bytes(document).map_err(wrong)?;
        let header =
            Self { subject: subject(fields)?, documents: count(fields, "documents")?, bytes: count(fields, "bytes")? };
        Ok((header, FRAME_PREFIX + length))
    }
}

fn subject(fields: &RawDocument) -> Result<Subject> {
    let format = fields.get_str("format").map_err(wrong)?;
    let version = u32::try_from(fields.get_i32("version").map_err(wrong)?).map_err(wrong)?;
    let subject = match format {
        "regrow-segment" => Subject::Segment { backup: backup(fields)?, number: count(fields, "number")? },
        "regrow-catalog" => Subject::Catalog { backup: backup(fields)? },
        "regrow-checkpoint" => {
            let number = u32::try_from(count(fields, "number")?).map_err(wrong)?;
            Subject::Checkpoint { backup: backup(fields)?, number }
        }
        "regrow-slice" => Subject::Slice {
            timeline: fields.get_str("timeline").map_err(wrong)?.parse().map_err(wrong)?,
            begin: fields.get_timestamp("begin").map_err(wrong)?.into(),
            end: fields.get_timestamp("end").map_err(wrong)?.into(),
        },
        other => return Err(wrong(format!("its format is '{other}'"))),
    };
    check_version(WHAT, subject.format(), format, version)?;
    Ok(subject)
}

fn backup(fields: &RawDocument) -> Result<BackupId> {
    fields.get_str("backup").map_err(wrong)?.parse().map_err(wrong)
}

fn count(fields: &RawDocument, name: &str) -> Result<u64> {
    let value = fields.get_i64(name).map_err(wrong)?;
    u64::try_from(value).map_err(|_| wrong(format!("{name} is {value}")))
}

/// What messages call it.
const WHAT: &str = "a header";

fn wrong(reason: impl fmt::Display) -> crate::error::Error {
    malformed(WHAT, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers() -> [Header; 4] {
        let backup: BackupId = "20261123T020000Z-daily-7f3a".parse().unwrap();
        let (begin, end) = (ClusterTime { t: 1, i: 2 }, ClusterTime { t: 3, i: 4 });
        let timeline = "20261123T020000Z-7f3a".parse().unwrap();
        [
            Subject::Segment { backup: backup.clone(), number: 7 },
            Subject::Catalog { backup: backup.clone() },
            Subject::Checkpoint { backup, number: 2 },
            Subject::Slice { timeline, begin, end },
        ]
        .map(|subject| Header { subject, documents: 3, bytes: 99 })
    }

    #[test]
    fn a_header_survives_the_way_to_a_frame_and_back() {
        for header in headers() {
            let mut stream = header.to_frame();
            let length = stream.len();
            stream.extend_from_slice(b"data frame");
            assert_eq!(Header::parse(&stream).unwrap(), (header, length));
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Header::parse(&bytes);
            for header in headers() {
                let mut framed = header.to_frame();
                framed.truncate(bytes.len());
                prop_assert!(Header::parse(&framed).is_err() || framed == header.to_frame());
            }
        }
    }
}
