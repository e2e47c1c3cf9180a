//! netem's distribution tables, by the formulas that iproute2's come from (NISTnet): 4096 values of the inverse
//! of the cumulative distribution, mean 0 and standard deviation 8192 (`NETEM_DIST_SCALE`, linux/pkt_sched.h).

/// Shape of the delay around its mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Evenly in mean +- jitter: netem's own when it has no table.
    Uniform,
    /// Gaussian.
    Normal,
    /// Pareto with exponent 3: a long tail of late packets.
    Pareto,
    /// A quarter normal, three quarters Pareto: what was measured on the Internet.
    ParetoNormal,
}

const SIZE: i32 = 4096;
const SCALE: f64 = 8192.;

impl Distribution {
    /// By the name that tc uses.
    pub fn named(name: &str) -> Option<Distribution> {
        Some(match name {
            "uniform" => Distribution::Uniform,
            "normal" => Distribution::Normal,
            "pareto" => Distribution::Pareto,
            "paretonormal" => Distribution::ParetoNormal,
            _ => return None,
        })
    }

    /// The table as `TCA_NETEM_DELAY_DIST` takes it: 4096 i16 in host order.
    pub fn table(self) -> Vec<u8> {
        let value = |index| match self {
            Distribution::Uniform => 4 * (index - SIZE / 2) + 2,
            Distribution::Normal => normal(index),
            Distribution::Pareto => pareto(index),
            Distribution::ParetoNormal => (normal(index) + 3 * pareto(index)) / 4,
        };
        (0..SIZE).flat_map(|index| (value(index).clamp(-32768, 32767) as i16).to_ne_bytes()).collect()
    }
}

/// The inverse of 1 - (1/x)^3, moved and stretched to mean 0 and standard deviation 1.
fn pareto(index: i32) -> i32 {
    let below = f64::from(SIZE - index) / f64::from(SIZE);
    let value = (1. / below.cbrt() - 1.5) * (4. / 3.) * SCALE;
    value.min(32767.).round_ties_even() as i32
}

/// iproute2 walks the curve in steps of 0.00005 and keeps the last below the middle of each table entry.
fn normal(index: i32) -> i32 {
    let exact = inverse_normal((4. * f64::from(index) + 0.5) / 16384.);
    let step = 0.000_05;
    ((exact / step).floor() * step * SCALE).round_ties_even() as i32
}

/// The inverse of the normal distribution's cumulative function, by P. J. Acklam's rational approximation
/// (relative error below 1.15e-9).
fn inverse_normal(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.,
    ];
    let polynomial = |coefficients: &[f64], x: f64| coefficients.iter().fold(0., |sum, c| sum * x + c);
    let tail = |p: f64| {
        let q = (-2. * logarithm(p)).sqrt();
        polynomial(&C, q) / polynomial(&D, q)
    };
    match p {
        ..0.02425 => tail(p),
        0.97575.. => -tail(1. - p),
        _ => {
            let q = p - 0.5;
            polynomial(&A, q * q) * q / polynomial(&B, q * q)
        }
    }
}

/// The natural logarithm for 0 < x < 1: halves off, then the series of the inverse hyperbolic tangent, which ends
/// below 1e-16 here. The C library's would add a table of four kilobytes.
fn logarithm(mut x: f64) -> f64 {
    let mut halves = 0.;
    while x < 0.75 {
        x *= 2.;
        halves += 1.;
    }
    let ratio = (x - 1.) / (x + 1.);
    let series = (0..12).rev().fold(0., |sum, term| sum * ratio * ratio + 1. / f64::from(2 * term + 1));
    2. * ratio * series - halves * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(name: &str) -> Vec<i32> {
        let table = Distribution::named(name).unwrap().table();
        table.chunks(2).map(|pair| i16::from_ne_bytes([pair[0], pair[1]]).into()).collect()
    }

    /// iproute2's own files, where the package is installed.
    fn iproute2(name: &str) -> Option<Vec<i32>> {
        let found = ["/usr/lib/tc", "/usr/lib/x86_64-linux-gnu/tc", "/usr/lib/aarch64-linux-gnu/tc"]
            .iter()
            .find_map(|folder| std::fs::read_to_string(format!("{folder}/{name}.dist")).ok())?;
        let lines = found.lines().filter(|line| !line.starts_with('#'));
        Some(lines.flat_map(|line| line.split_whitespace().map(|value| value.parse().unwrap())).collect())
    }

    #[test]
    fn tables_equal_iproute2s_within_rounding() {
        for name in ["normal", "pareto", "paretonormal"] {
            let ours = values(name);
            assert_eq!(ours.len(), 4096);
            let Some(theirs) = iproute2(name) else { continue };
            assert_eq!(theirs.len(), 4096);
            let apart =
                |bound: i32| ours.iter().zip(&theirs).filter(|(a, b)| (*a - *b).abs() > bound).count();
            assert_eq!(apart(1), 0, "{name}");
            assert!(apart(0) < 10, "{name}: {} of 4096 differ by one", apart(0));
        }
    }

    #[test]
    fn the_logarithm_is_one() {
        for x in [1e-9, 3.05e-5, 0.02, 0.3, 0.75, 0.999] {
            assert!((logarithm(x) - f64::ln(x)).abs() < 1e-14, "{x}: {}", logarithm(x));
        }
    }

    #[test]
    fn tables_have_mean_zero_and_their_spread() {
        for (name, spread) in [("uniform", 0.577), ("normal", 1.), ("pareto", 0.88)] {
            let values = values(name);
            let mean = f64::from(values.iter().sum::<i32>()) / 4096. / SCALE;
            let square = values.iter().map(|value| (f64::from(*value) / SCALE).powi(2)).sum::<f64>() / 4096.;
            assert!(mean.abs() < 0.05, "{name}: mean {mean}");
            assert!((square.sqrt() - spread).abs() < 0.1, "{name}: spread {}", square.sqrt());
            assert!(values.is_sorted(), "{name}");
        }
    }
}
