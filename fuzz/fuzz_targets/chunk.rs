//! See `objects.rs`.
#![no_main]

#[path = "../objects.rs"]
#[expect(dead_code, reason = "each target is a program of its own")]
mod objects;

// A panic of the decoder that comes to a finding is none to libFuzzer either.
libfuzzer_sys::fuzz_target!(init: verifier::rows::quiet_decoder(), |input: &[u8]| objects::chunk(input));
