//! See `moec_fuzz::Target::IrText`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    moec_fuzz::Target::IrText.run(bytes);
});
