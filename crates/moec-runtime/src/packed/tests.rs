//! Where sections lie. What a file is refused for is tested with whole programs, in the crate `moec`.

use super::*;

#[test]
fn large_sections_begin_at_huge_pages() {
    let large = LARGE as u64 + 64;
    let places = layout(4096, &[64, 0, large, 1]);
    assert_eq!(
        places,
        [(4096, 64), (8192, 0), (2 << 20, large), ((2 << 20) + large.next_multiple_of(4096), 1)]
    );
}
