//! See `objects.rs`.
#![no_main]

#[path = "../objects.rs"]
#[expect(dead_code, reason = "each target is a program of its own")]
mod objects;

libfuzzer_sys::fuzz_target!(|input: &[u8]| objects::files(input));
