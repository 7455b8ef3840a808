//! Pages of a block: short pieces with a CRC-32C each, so that a reader who needs one does not fetch a whole block. The
//! CRCs of a block's pages, combined, are the block's CRC: a table of them needs no checksum of its own, and content is
//! passed over once for both. Datanodes make and check tables; clients compare pages with their CRCs.

use super::{BLOCK_SIZE, crc32c};

/// Content bytes of a page; the last of a chunk may be shorter.
pub const PAGE_SIZE: u32 = 4096;
/// Pages of a whole block.
pub const PAGES_OF_BLOCK: u32 = BLOCK_SIZE / PAGE_SIZE;

const PAGE: usize = PAGE_SIZE as usize;
/// Pages that are checked at the same time: the processor's CRC instruction answers after three cycles and takes a new
/// operand in each. One page after the other takes 35 % longer than whole blocks do; four at once, 15 % less.
const ABREAST: usize = 4;
static ZEROS: [u8; PAGE] = [0; PAGE];
static BEFORE_A_PAGE: [[u32; 256]; 4] = before_a_page();

/// How many pages `len` content bytes make.
pub const fn page_count(len: u32) -> u32 {
    len.div_ceil(PAGE_SIZE)
}

/// Appends the CRC-32C of each page of `content`, which begins at a page boundary.
pub fn page_crcs(content: &[u8], out: &mut Vec<u32>) {
    let mut groups = content.chunks_exact(ABREAST * PAGE);
    for group in &mut groups {
        out.extend_from_slice(&crcs_abreast(group));
    }
    out.extend(groups.remainder().chunks(PAGE).map(crc32c));
}

/// The CRC-32C of `len` content bytes whose pages have `crcs`, one for each.
pub fn combine(crcs: &[u32], len: usize) -> u32 {
    let Some((last, whole)) = crcs.split_last() else {
        return 0;
    };
    let Some((first, whole)) = whole.split_first() else {
        return *last;
    };
    let before = whole.iter().fold(*first, |so_far, crc| before_page(so_far) ^ crc);
    match len % PAGE {
        0 => before_page(before) ^ last,
        short => before_zeros(before, short) ^ last,
    }
}

/// The CRC-32C of each block of `len` content bytes that begin at a block boundary and whose pages have `crcs`.
pub fn combine_blocks(crcs: &[u32], len: usize) -> impl Iterator<Item = u32> {
    let blocks = crcs.chunks(PAGES_OF_BLOCK as usize).zip(0..);
    blocks.map(move |(pages, block)| {
        let left = len.saturating_sub(block * BLOCK_SIZE as usize);
        combine(pages, left.min(BLOCK_SIZE as usize))
    })
}

/// The first block of `content` that its CRC does not match, `content` beginning at block `first`. Appends the CRC of
/// each page to `pages`, from the same pass.
pub fn first_bad_block_of_pages(
    first: u32,
    content: &[u8],
    crcs: &[u32],
    pages: &mut Vec<u32>,
) -> Option<u32> {
    let begin = pages.len();
    page_crcs(content, pages);
    let mut blocks = combine_blocks(&pages[begin..], content.len()).zip(crcs);
    let bad = blocks.position(|(is, should)| is != *should);
    bad.map(|at| first + at as u32)
}

/// What `crc`, of some bytes, adds to the CRC of these bytes and a whole page behind them.
fn before_page(crc: u32) -> u32 {
    let bytes = crc.to_le_bytes();
    let parts = BEFORE_A_PAGE.iter().zip(bytes);
    parts.fold(0, |sum, (part, byte)| sum ^ part[usize::from(byte)])
}

/// The same before `len` bytes, at most a page: as the sum of nothing but zeros shows it.
fn before_zeros(crc: u32, len: usize) -> u32 {
    !::crc32c::crc32c_append(!crc, &ZEROS[..len])
}

/// What each bit of a CRC becomes behind a page of zeros, for each value of its four bytes: CRCs are linear.
const fn before_a_page() -> [[u32; 256]; 4] {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    // Behind one zero bit; each doubling is the step applied to itself.
    let mut step = [0; 32];
    step[0] = POLYNOMIAL;
    let mut bit = 1;
    while bit < 32 {
        step[bit] = 1 << (bit - 1);
        bit += 1;
    }
    let mut bits = 1;
    while bits < 8 * PAGE {
        let mut twice = [0; 32];
        let mut bit = 0;
        while bit < 32 {
            twice[bit] = applied(&step, step[bit]);
            bit += 1;
        }
        step = twice;
        bits *= 2;
    }
    let mut table = [[0; 256]; 4];
    let mut at = 0;
    while at < 4 * 256 {
        table[at / 256][at % 256] = applied(&step, ((at % 256) as u32) << (8 * (at / 256)));
        at += 1;
    }
    table
}

const fn applied(step: &[u32; 32], crc: u32) -> u32 {
    let (mut sum, mut bit) = (0, 0);
    while bit < 32 {
        if crc >> bit & 1 == 1 {
            sum ^= step[bit];
        }
        bit += 1;
    }
    sum
}

#[cfg(target_arch = "x86_64")]
fn crcs_abreast(group: &[u8]) -> [u32; ABREAST] {
    use std::arch::x86_64::_mm_crc32_u64;

    #[target_feature(enable = "sse4.2")]
    fn at_once(group: &[u8]) -> [u32; ABREAST] {
        let (a, rest) = group.split_at(PAGE);
        let (b, rest) = rest.split_at(PAGE);
        let (c, d) = rest.split_at(PAGE);
        let (a, b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
        let (c, d) = (c.as_chunks::<8>().0, d.as_chunks::<8>().0);
        let mut sums = [u64::from(u32::MAX); ABREAST];
        for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
            sums[0] = _mm_crc32_u64(sums[0], u64::from_le_bytes(*a));
            sums[1] = _mm_crc32_u64(sums[1], u64::from_le_bytes(*b));
            sums[2] = _mm_crc32_u64(sums[2], u64::from_le_bytes(*c));
            sums[3] = _mm_crc32_u64(sums[3], u64::from_le_bytes(*d));
        }
        sums.map(|sum| !(sum as u32))
    }

    if !std::arch::is_x86_feature_detected!("sse4.2") {
        return crcs_in_turn(group);
    }
    // SAFETY: the processor has the instructions that it is compiled for.
    unsafe { at_once(group) }
}

#[cfg(not(target_arch = "x86_64"))]
fn crcs_abreast(group: &[u8]) -> [u32; ABREAST] {
    crcs_in_turn(group)
}

fn crcs_in_turn(group: &[u8]) -> [u32; ABREAST] {
    std::array::from_fn(|at| crc32c(&group[at * PAGE..(at + 1) * PAGE]))
}

#[cfg(test)]
mod tests {
    use super::super::{block_crcs, first_bad_block};
    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len as u32)
            .map(|at| (at.wrapping_mul(0x9e37_79b9) >> 11) as u8)
            .collect()
    }

    #[test]
    fn pages_combine_to_their_block_at_every_length() {
        let bytes = content(BLOCK_SIZE as usize);
        let mut pages = Vec::new();
        for len in 1..=BLOCK_SIZE as usize {
            // All lengths of short last pages behind few and many pages; elsewhere those beside a boundary.
            let short = len % PAGE;
            if !(2..15).contains(&(len / PAGE)) || !(3..=PAGE - 3).contains(&short) {
                pages.clear();
                page_crcs(&bytes[..len], &mut pages);
                assert_eq!(pages.len(), page_count(len as u32) as usize);
                assert_eq!(combine(&pages, len), crc32c(&bytes[..len]), "{len} bytes");
            }
        }
        assert_eq!(combine(&[], 0), crc32c(b""));
    }

    #[test]
    fn each_page_has_its_own_sum() {
        for len in [1, PAGE, 4 * PAGE, 9 * PAGE + 1, 37 * PAGE - 1] {
            let bytes = content(len);
            let mut pages = vec![7];
            page_crcs(&bytes, &mut pages);
            let singly: Vec<u32> = bytes.chunks(PAGE).map(crc32c).collect();
            assert_eq!((pages[0], &pages[1..]), (7, &singly[..]), "{len} bytes");
            if let Some(group) = bytes.get(..ABREAST * PAGE) {
                assert_eq!(crcs_in_turn(group), crcs_abreast(group));
            }
        }
    }

    #[test]
    fn one_pass_finds_the_bad_block_and_sums_the_pages() {
        for len in [5, BLOCK_SIZE as usize, 3 * BLOCK_SIZE as usize + 4097] {
            let bytes = content(len);
            let crcs = block_crcs(&bytes);
            let mut pages = Vec::new();
            assert_eq!(first_bad_block_of_pages(3, &bytes, &crcs, &mut pages), None);
            assert_eq!(combine_blocks(&pages, len).collect::<Vec<_>>(), crcs);
            for at in [0, len / 2, len - 1] {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x10;
                let bad = first_bad_block_of_pages(3, &damaged, &crcs, &mut Vec::new());
                assert_eq!(bad, Some(3 + at as u32 / BLOCK_SIZE), "byte {at} of {len}");
                assert_eq!(bad, first_bad_block(3, &damaged, &crcs));
            }
        }
    }
}
