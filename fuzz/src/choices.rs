//! Decisions read from the bytes of an input. After the last byte, every decision is the first option.

/// The remaining input.
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let [first, rest @ ..] = self.0 else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `bound`, which is at most 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// The next two bytes as a number.
    pub fn pair(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    /// The next `count` bytes, or all that are left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Whether the input is used up.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

/// Maximum length of an input that is cut at every position; a longer one is cut at some.
const CUT_EVERYWHERE_BYTES_MAX: usize = 96;
/// The number of ways to cut a longer input in two.
const CUTS: usize = 24;

/// Ways to cut an input of `len` bytes into pieces, each given by the ends of the pieces: byte by byte, in two at many
/// positions, and in pieces whose sizes depend on `seed`.
pub fn cuts(len: usize, seed: u8) -> Vec<Vec<usize>> {
    let mut ways: Vec<Vec<usize>> = Vec::new();
    if len <= 2048 {
        ways.push((1..=len).collect());
    }
    if len <= CUT_EVERYWHERE_BYTES_MAX {
        ways.extend((1..len).map(|at| vec![at, len]));
    } else {
        let step = len.div_ceil(CUTS);
        ways.extend((usize::from(seed) % step + 1..len).step_by(step).map(|at| vec![at, len]));
    }
    let mut state = u64::from(seed) | 1;
    let (mut ends, mut at) = (Vec::new(), 0);
    while at < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let longest = [3, 17, 200, 4096][(state >> 33) as usize % 4];
        at = len.min(at + 1 + (state >> 40) as usize % longest);
        ends.push(at);
    }
    ways.push(ends);
    ways
}

/// The pieces that end at `ends`.
pub fn pieces<'a>(input: &'a [u8], ends: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut start = 0;
    ends.iter().map(move |end| {
        let piece = &input[start..*end];
        start = *end;
        piece
    })
}
