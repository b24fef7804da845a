//! What two sequences have in common, and two texts as one with conflict markers.

use crate::pure::format::splice::is_crlf;

/// Most differences that are looked for: files that differ more become one large conflict, which is as readable.
const DIFFERENCES: usize = 500;

/// Names of the sides in conflict markers, and the length of these.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'l> {
    /// After `<<<<<<<`.
    pub ours: &'l str,
    /// After `>>>>>>>`.
    pub theirs: &'l str,
    /// Characters of a marker; Git's own is 7.
    pub size: usize,
}

/// Pairs of positions of equal elements, rising on both sides: a longest common subsequence (Myers, "An O(ND) Difference
/// Algorithm", 1986), or a shorter one when more than [`DIFFERENCES`] elements differ.
pub(super) fn matches<T>(left: &[T], right: &[T], equal: impl Fn(&T, &T) -> bool) -> Vec<(usize, usize)> {
    let prefix = left.iter().zip(right).take_while(|(a, b)| equal(a, b)).count();
    let (a, b) = (left.get(prefix..).unwrap_or_default(), right.get(prefix..).unwrap_or_default());
    let suffix = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| equal(a, b)).count();
    let (a, b) = (a.get(..a.len() - suffix).unwrap_or_default(), b.get(..b.len() - suffix).unwrap_or_default());
    let mut pairs: Vec<(usize, usize)> = (0..prefix).map(|at| (at, at)).collect();
    pairs.extend(middle(a, b, &equal).into_iter().map(|(x, y)| (x + prefix, y + prefix)));
    pairs.extend((0..suffix).map(|at| (prefix + a.len() + at, prefix + b.len() + at)));
    pairs
}

/// The furthest position reached on each diagonal, after each number of differences.
type Reached = Vec<isize>;

fn middle<T>(a: &[T], b: &[T], equal: &impl Fn(&T, &T) -> bool) -> Vec<(usize, usize)> {
    let most = (a.len() + b.len()).min(DIFFERENCES);
    let offset = most.cast_signed() + 1;
    let read = |reached: &Reached, k: isize| {
        usize::try_from(k + offset).ok().and_then(|at| reached.get(at)).copied().unwrap_or(0)
    };
    let item = |x: isize, y: isize| -> Option<(&T, &T)> {
        Some((a.get(usize::try_from(x).ok()?)?, b.get(usize::try_from(y).ok()?)?))
    };
    let from = |reached: &Reached, d: isize, k: isize| {
        let down = k == -d || (k != d && read(reached, k - 1) < read(reached, k + 1));
        if down { (k + 1, read(reached, k + 1)) } else { (k - 1, read(reached, k - 1) + 1) }
    };
    let mut reached: Reached = vec![0; 2 * most + 3];
    let mut trace: Vec<Reached> = Vec::new();
    let (end_x, end_y) = (a.len().cast_signed(), b.len().cast_signed());
    let mut found = None;
    'search: for d in 0..=most.cast_signed() {
        trace.push(reached.clone());
        for k in (-d..=d).step_by(2) {
            let (_, mut x) = if d == 0 { (0, 0) } else { from(&reached, d, k) };
            while item(x, x - k).is_some_and(|(a, b)| equal(a, b)) {
                x += 1;
            }
            if let Some(place) = usize::try_from(k + offset).ok().and_then(|at| reached.get_mut(at)) {
                *place = x;
            }
            if x >= end_x && x - k >= end_y {
                found = Some((d, k));
                break 'search;
            }
        }
    }
    let Some((d, mut k)) = found else { return Vec::new() };
    let mut pairs = Vec::new();
    let mut x = end_x;
    for d in (0..=d).rev() {
        let Some(before) = trace.get(usize::try_from(d).unwrap_or_default()) else { break };
        let (previous, start) = if d == 0 { (0, 0) } else { from(before, d, k) };
        while x > start {
            x -= 1;
            pairs.extend(usize::try_from(x).ok().zip(usize::try_from(x - k).ok()));
        }
        x = if d == 0 { 0 } else { read(before, previous) };
        k = previous;
    }
    pairs.reverse();
    pairs
}

/// Line, from 1, of the first conflict marker that was left in a file.
pub fn marker_line(bytes: &[u8]) -> Option<usize> {
    let line = |head: &[u8]| bytes.split(|byte| *byte == b'\n').position(|line| line.starts_with(head));
    let (first, last) = (line(b"<<<<<<< ")?, line(b">>>>>>> ")?);
    (first < last).then_some(first + 1)
}

/// One text in which the lines that differ stand between conflict markers, as Git writes them.
pub fn conflict_text(ours: &[u8], theirs: &[u8], labels: Labels<'_>) -> Vec<u8> {
    let lines =
        |text: &'_ [u8]| -> Vec<Vec<u8>> { text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect() };
    let (left, right) = (lines(ours), lines(theirs));
    let line_break = if is_crlf(ours) { "\r\n" } else { "\n" };
    let mut out = Vec::with_capacity(ours.len() + theirs.len() / 4);
    let mut pairs = matches(&left, &right, |a, b| a == b);
    pairs.push((left.len(), right.len()));
    let (mut x, mut y) = (0, 0);
    for (to_x, to_y) in pairs {
        let (own, other) = (left.get(x..to_x).unwrap_or_default(), right.get(y..to_y).unwrap_or_default());
        if !own.is_empty() || !other.is_empty() {
            let mark = |sign: &str, label: &str| {
                format!("{}{}{label}{line_break}", sign.repeat(labels.size), if label.is_empty() { "" } else { " " })
            };
            for (mark, part) in [(mark("<", labels.ours), own), (mark("=", ""), other)] {
                out.extend_from_slice(mark.as_bytes());
                part.iter().for_each(|line| out.extend_from_slice(line));
                // A last line without a break would swallow the marker.
                if part.last().is_some_and(|line| !line.ends_with(b"\n")) {
                    out.extend_from_slice(line_break.as_bytes());
                }
            }
            out.extend_from_slice(mark(">", labels.theirs).as_bytes());
        }
        if let Some(line) = left.get(to_x) {
            out.extend_from_slice(line);
        }
        (x, y) = (to_x + 1, to_y + 1);
    }
    out
}
