#![no_main]

#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (_, read) = entries::ENTRIES.iter().find(|(name, _)| *name == "checkpoint").expect("it is one of them");
    read(bytes);
});
