//! Where sections lie. What a file is refused for is tested with whole programs, in the crate `moec`.

use super::*;
use crate::threads::Pool;

#[test]
fn large_sections_begin_at_huge_pages() {
    let large = LARGE as u64 + 64;
    let places = layout(4096, &[64, 0, large, 1]);
    assert_eq!(
        places,
        [(4096, 64), (8192, 0), (2 << 20, large), ((2 << 20) + large.next_multiple_of(4096), 1)]
    );
}

#[test]
fn a_file_is_sound_until_a_bit_of_it_changes() {
    let content: Vec<u8> = (0..5000).map(|at| at as u8).collect();
    let whole = stray_file(&[&content, &[], &[7; 64]]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stray.moepack");
    let pool = Pool::new(2).unwrap();
    let verified = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        PackedFile::open(&path).and_then(|file| file.verify(&pool))
    };
    verified(&whole).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(verified(&damaged).is_err(), "byte {at}");
    }
}
