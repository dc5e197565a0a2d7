//! Documents that hold everything a field can be.

use mongodb::bson::RawDocumentBuf;

use super::bytes::{self, Bytes};

/// The largest document that a server stores.
const LARGEST: usize = 16 * 1024 * 1024;

/// As deep as the server lets a document be stored, less what a listing or a command wraps around it.
const DEPTH: usize = 100;

const NAN_WITH_PAYLOAD: u64 = 0xfff8_dead_beef_0001;

/// Every value that a BSON field can have, in pairs that a careless copy confuses.
pub fn values() -> Vec<(u8, Vec<u8>)> {
    let mut values = numbers();
    values.extend(times());
    values.extend(texts_and_code());
    values.extend(binaries());
    values.extend([
        (bytes::UNDEFINED, vec![]),
        (bytes::NULL, vec![]),
        (bytes::MIN_KEY, vec![]),
        (bytes::MAX_KEY, vec![]),
        (bytes::BOOLEAN, vec![0]),
        (bytes::BOOLEAN, vec![1]),
        (bytes::OBJECT_ID, vec![0; 12]),
        (bytes::OBJECT_ID, (1..13).collect()),
        (bytes::POINTER, [bytes::string("odd.everything"), vec![7; 12]].concat()),
        (bytes::DOCUMENT, Bytes::new().encode()),
        (bytes::ARRAY, Bytes::new().encode()),
        // Arrays are documents whose names nobody checks.
        (bytes::ARRAY, Bytes::new().int("5", 1).int("x", 2).int("", 3).int("5", 4).encode()),
    ]);
    values
}

fn numbers() -> Vec<(u8, Vec<u8>)> {
    let doubles = [7.0, 0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE / 4.0, f64::MAX];
    let doubles = doubles.into_iter().chain([f64::from_bits(NAN_WITH_PAYLOAD)]);
    let mut values: Vec<(u8, Vec<u8>)> =
        doubles.map(|value| (bytes::DOUBLE, value.to_bits().to_le_bytes().to_vec())).collect();
    values.extend([7, 0, i32::MIN, i32::MAX].map(|value| (bytes::INT32, value.to_le_bytes().to_vec())));
    values.extend([7, 0, i64::MIN, i64::MAX].map(|value| (bytes::INT64, value.to_le_bytes().to_vec())));
    let decimals = [
        (0x3040_0000_0000_0000, 7),  // 7
        (0x303e_0000_0000_0000, 70), // 7.0
        (0x3040_0000_0000_0000, 0),  // 0
        (0xb040_0000_0000_0000, 0),  // -0
        (0x7c00_0000_0000_0000, 0),  // NaN
        (0xfc00_0000_0000_0000, 3),  // -NaN with a payload
        (0x7e00_0000_0000_0000, 0),  // signalling NaN
        (0x7800_0000_0000_0000, 0),  // Infinity
        (0xf800_0000_0000_0000, 0),  // -Infinity
        (0x6c10_0000_0000_0000, 9),  // not canonical: too large a coefficient, which counts as zero
    ];
    values.extend(decimals.map(|(high, low)| (bytes::DECIMAL, bytes::decimal(high, low))));
    values
}

fn times() -> Vec<(u8, Vec<u8>)> {
    let dates = [0, -1, i64::MIN, i64::MAX, -2_208_988_800_000, 253_402_300_800_000];
    let mut values: Vec<(u8, Vec<u8>)> = dates.map(|value: i64| (bytes::DATE, value.to_le_bytes().to_vec())).to_vec();
    values.extend([(0, 1), (1, 0), (u32::MAX, u32::MAX)].map(|(t, i)| (bytes::TIMESTAMP, bytes::timestamp(t, i))));
    values
}

fn texts_and_code() -> Vec<(u8, Vec<u8>)> {
    let texts: [&[u8]; 6] = [
        b"",
        b"a\0b\0",
        "e\u{301} is not \u{e9}".as_bytes(),
        "\u{1f4b0}\u{200f}\u{feff}".as_bytes(),
        b"$a.b",
        b"\xff\xfe not UTF-8",
    ];
    let mut values: Vec<(u8, Vec<u8>)> = texts.map(|text| (bytes::STRING, bytes::string(text))).to_vec();
    let scope = Bytes::new().int("x", 1).field(bytes::UNDEFINED, "", "").int("x", 2);
    values.extend([
        (bytes::SYMBOL, bytes::string("a symbol")),
        (bytes::CODE, bytes::string("function() { return '\u{fc}' }")),
        (bytes::CODE_WITH_SCOPE, bytes::code_with_scope("function() { return x }", &scope)),
        (bytes::REGEX, bytes::regex("^a.*(b|\u{e9})$", "imsx")),
        (bytes::REGEX, bytes::regex("", "")),
        (bytes::REGEX, bytes::regex("options out of order", "xi")),
    ]);
    values
}

fn binaries() -> Vec<(u8, Vec<u8>)> {
    let subtypes = [0, 1, 3, 4, 5, 6, 7, 8, 0x80, 0xff];
    let mut values: Vec<(u8, Vec<u8>)> =
        subtypes.map(|subtype| (bytes::BINARY, bytes::binary(subtype, &[subtype; 16]))).to_vec();
    values.extend([
        (bytes::BINARY, bytes::old_binary(b"with its length twice")),
        (bytes::BINARY, bytes::old_binary(b"")),
        (bytes::BINARY, bytes::binary(0, b"")),
        (bytes::BINARY, bytes::binary(4, b"a UUID of another length")),
    ]);
    values
}

/// Every value, alone and nested, and every shape that a document can have.
pub fn everything() -> Vec<RawDocumentBuf> {
    let zero = bytes::timestamp(0, 0);
    let nested_zero = Bytes::new().field(bytes::TIMESTAMP, "t", &zero).field(bytes::TIMESTAMP, "", &zero);
    let mut documents: Vec<Bytes> =
        (0..).zip(values()).map(|(number, (kind, value))| nested(Bytes::numbered(number), kind, &value)).collect();
    let all = values().into_iter().fold(Bytes::new(), |all, (kind, value)| all.field(kind, "same name", value));
    documents.extend([
        Bytes::numbered(1000),
        Bytes::numbered(1001).document("all", &all),
        Bytes::numbered(1002).int("b", 1).int("a", 2).int("10", 3).int("9", 4),
        Bytes::numbered(1003).int("", 1).text("", "again").document("", &Bytes::new().int("", 2)),
        Bytes::numbered(1004).int("twice", 1).text("twice", "the second").int("twice", 1),
        Bytes::numbered(1005).int("a.b", 1).int("$set", 2).document("a", &Bytes::new().int("$a.b.$c", 3).int(".", 4)),
        Bytes::numbered(1006).document("nested", &nested_zero).field(bytes::ARRAY, "list", nested_zero.encode()),
        Bytes::numbered(1007)
            .document("depth", &(0..DEPTH - 2).fold(Bytes::new(), |inner, _| Bytes::new().document("d", &inner))),
        Bytes::numbered(1008).int("\u{1f4b0}\n\t ", 1).int("e\u{301}", 2).int("\u{e9}", 3),
        Bytes::numbered(1009).field(bytes::INT32, b"\xffnot UTF-8", [0; 4]),
        Bytes::numbered(1010).text("long", "x".repeat(100_000)).int(&"name".repeat(10_000), 1),
        // What looks like a reference, a query or an encoding of something else is a document all the same.
        Bytes::numbered(1011).document("a", &Bytes::new().text("$ref", "c").int("$id", 1).text("$db", "d")),
        Bytes::numbered(1012).document("a", &Bytes::new().text("$oid", "0").text("$numberLong", "x").int("$expr", 1)),
    ]);
    documents.iter().map(Bytes::raw).collect()
}

fn nested(document: Bytes, kind: u8, value: &[u8]) -> Bytes {
    let inner = Bytes::new().field(kind, "in", value);
    let list = Bytes::new().field(kind, "0", value).document("1", &inner);
    document.field(kind, "value", value).document("document", &inner).field(bytes::ARRAY, "array", list.encode())
}

/// Documents whose `_id` is each of the values that may be one: all but arrays, regular expressions and
/// undefined. Values that are equal to the server, such as 7 and 7.0, occur once.
pub fn ids() -> Vec<RawDocumentBuf> {
    let never = [bytes::ARRAY, bytes::REGEX, bytes::UNDEFINED];
    let mut documents: Vec<Bytes> = values()
        .into_iter()
        .filter(|(kind, value)| !never.contains(kind) && !equals_another(*kind, value))
        .map(|(kind, value)| Bytes::with_id(kind, value))
        .collect();
    let zero = Bytes::new().field(bytes::TIMESTAMP, "t", bytes::timestamp(0, 0));
    documents.extend([
        Bytes::with_id(bytes::TIMESTAMP, bytes::timestamp(0, 0)),
        Bytes::with_id(bytes::DOCUMENT, Bytes::new().int("a", 1).int("b", 2).encode()),
        Bytes::with_id(bytes::DOCUMENT, Bytes::new().int("b", 2).int("a", 1).encode()),
        Bytes::with_id(bytes::DOCUMENT, Bytes::new().int("a", 1).int("a", 1).encode()),
        Bytes::with_id(bytes::DOCUMENT, Bytes::new().field(bytes::ARRAY, "list", Bytes::new().encode()).encode()),
        Bytes::with_id(bytes::DOCUMENT, zero.encode()),
        Bytes::with_id(bytes::STRING, bytes::string("a")),
        Bytes::with_id(bytes::STRING, bytes::string("A")),
    ]);
    (0..).zip(documents).map(|(number, document)| document.int("n", number).raw()).collect()
}

/// Whether an `_id` would be a duplicate of another of [`values`].
fn equals_another(kind: u8, value: &[u8]) -> bool {
    let zero_or_seven = value.iter().filter(|byte| **byte != 0).all(|byte| *byte == 7) && kind != bytes::DOUBLE;
    match kind {
        bytes::INT32 | bytes::INT64 => zero_or_seven,
        bytes::DOUBLE => {
            let number = f64::from_le_bytes(value.try_into().expect("a double has 8 bytes"));
            (number == 0.0 && number.is_sign_negative()) || number.to_bits() == NAN_WITH_PAYLOAD
        }
        // Of the decimals only 7.0, which equals 7, NaN and the like have a double of the same value.
        bytes::DECIMAL => true,
        _ => false,
    }
}

/// A document of exactly the most bytes that a server stores, and some that fill a batch each.
pub fn large() -> Vec<RawDocumentBuf> {
    let of_size = |id: i32, size: usize| {
        let empty = Bytes::numbered(id).field(bytes::BINARY, "data", bytes::binary(0, b"")).encode().len();
        let data: Vec<u8> =
            (0..size - empty).map(|at| ((at * at) >> 7).to_le_bytes()[0] ^ id.to_le_bytes()[0]).collect();
        Bytes::numbered(id).field(bytes::BINARY, "data", bytes::binary(0, &data)).raw()
    };
    let nearly = LARGEST / 10 * 9 + LARGEST / 1000 * 94;
    let mut documents = vec![of_size(0, LARGEST)];
    documents.extend((1..4).map(|id| of_size(id, nearly)));
    documents.extend((4..8).map(|id| of_size(id, 1024)));
    documents
}

/// Documents with an empty timestamp at their top level, beside whatever else is odd.
pub fn empty_timestamps() -> Vec<RawDocumentBuf> {
    let zero = bytes::timestamp(0, 0);
    let plain = Bytes::numbered(1).int("a", 1);
    let first = Bytes::numbered(3).field(bytes::TIMESTAMP, "t", &zero);
    let twice = Bytes::numbered(2).int("a", 1).field(bytes::TIMESTAMP, "t", &zero).int("a", 2);
    let twice = twice.field(bytes::TIMESTAMP, "t", &zero).field(bytes::TIMESTAMP, "", &zero);
    let all = values().into_iter().fold(Bytes::with_id(bytes::STRING, bytes::string("all")), |all, (kind, value)| {
        all.field(kind, "same name", value)
    });
    let named = Bytes::with_id(bytes::DOCUMENT, Bytes::new().int("b", 1).int("a", 1).encode());
    let scope = Bytes::with_id(bytes::CODE_WITH_SCOPE, bytes::code_with_scope("x", &Bytes::new()));
    let zeroed = |document: Bytes| document.field(bytes::TIMESTAMP, "$t.t", &zero);
    let ids = [
        named,
        scope,
        Bytes::with_id(bytes::NULL, b""),
        Bytes::with_id(bytes::DOUBLE, f64::NAN.to_le_bytes()),
        Bytes::with_id(bytes::MAX_KEY, b""),
        Bytes::with_id(bytes::TIMESTAMP, &zero),
        all,
    ];
    let documents = [first, plain, twice].into_iter().chain(ids.map(zeroed));
    documents.map(|document| document.raw()).collect()
}
