//! See `moec_fuzz::Target::Safetensors`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    moec_fuzz::Target::Safetensors.run(bytes);
});
