//! How many documents each collection gets.

use crate::documents;

/// The shop's collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collection {
    Tenants,
    Users,
    Products,
    Orders,
    Payments,
    Events,
    AuditLog,
    Visits,
}

impl Collection {
    /// All of them, in the order in which they are filled.
    pub const ALL: [Self; 8] = [
        Self::Tenants,
        Self::Users,
        Self::Products,
        Self::Orders,
        Self::Payments,
        Self::Events,
        Self::AuditLog,
        Self::Visits,
    ];

    /// Returns its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Users => "users",
            Self::Products => "products",
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::Events => "events",
            Self::AuditLog => "audit_log",
            Self::Visits => "visits",
        }
    }

    /// Returns its part of the shop's bytes, in thousandths; the tenants' few documents count for nothing.
    fn share(self) -> u64 {
        match self {
            Self::Tenants => 0,
            Self::Users => 80,
            Self::Orders => 290,
            Self::Products | Self::Payments => 90,
            Self::Events => 435,
            Self::AuditLog => 5,
            Self::Visits => 10,
        }
    }
}

/// How large the shop is. The documents need to know it, because they refer to each other.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    counts: [u64; 8],
}

/// Documents made to learn how large a collection's documents are.
const SAMPLE: u64 = 500;

impl Plan {
    /// Plans a shop of about `size` bytes of BSON, true to about one per cent.
    pub fn new(seed: u64, tenants: u64, size: u64) -> Self {
        let mut sample = Self { seed, counts: [SAMPLE; 8] };
        sample.counts[Collection::Tenants as usize] = tenants;
        let counts = Collection::ALL.map(|collection| match collection {
            Collection::Tenants => tenants,
            other => (size / 1000 * other.share() * SAMPLE / sample_bytes(&sample, other)).max(1),
        });
        Self { seed, counts }
    }

    /// Returns how many documents the collection gets.
    pub fn count(&self, collection: Collection) -> u64 {
        self.counts[collection as usize]
    }
}

fn sample_bytes(sample: &Plan, collection: Collection) -> u64 {
    let bytes: usize = (0..SAMPLE).map(|index| documents::make(sample, collection, index).as_bytes().len()).sum();
    bytes as u64
}

/// Parses a size as people write it: `50MiB`, `2GiB`, `0`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit: u64 = match &text[digits..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("'{other}' is no unit; write B, KiB, MiB or GiB, such as 50MiB")),
    };
    let number: u64 = text[..digits].parse().map_err(|_| format!("'{text}' is no size; write it as 50MiB"))?;
    number.checked_mul(unit).filter(|&size| size <= 1 << 42).ok_or_else(|| format!("'{text}' is too large"))
}
