//! See `moec_fuzz::Target::Packed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    moec_fuzz::Target::Packed.run(bytes);
});
