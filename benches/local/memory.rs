//! Memory: a GiB filled and given back, beside populate and memset.

use crate::figures::{median, milliseconds};
use crate::peer;
use chaos_agent::failures::memory::hoard::{Hoard, Pattern};
use chaos_agent::linux::sys::memory::{Advice, Mapping};

const GIB: usize = 1 << 30;

fn huge(length: usize) -> Mapping {
    let mapping = Mapping::anonymous(length).unwrap();
    mapping.advise(Advice::Huge).unwrap();
    mapping
}

fn fill(pattern: Pattern) -> (f64, f64, usize) {
    let mut hoard = None;
    let filled = milliseconds(|| {
        let hoard = hoard.insert(Hoard::reserve(GIB as u64, pattern, 1).unwrap());
        while !hoard.is_full() {
            hoard.fill_piece().unwrap();
        }
    });
    let resident = hoard.as_ref().unwrap().resident().unwrap();
    (filled, milliseconds(|| drop(hoard)), resident)
}

pub fn figures(runs: usize) {
    // Pages new to a virtual machine cost seconds a GiB for any program.
    let mut warm = Mapping::anonymous(GIB * 5 / 4).unwrap();
    warm.bytes().fill(1);
    drop(warm);
    let repeat = |work: &dyn Fn() -> f64| median((0..runs).map(|_| work()));
    let floor = repeat(&|| {
        let mapping = huge(GIB);
        milliseconds(|| mapping.populate(0, GIB).unwrap())
    });
    let memset_huge = repeat(&|| {
        let mut mapping = huge(GIB);
        milliseconds(|| mapping.bytes().fill(0xa5))
    });
    let memset = repeat(&|| {
        let mut mapping = Mapping::anonymous(GIB).unwrap();
        milliseconds(|| mapping.bytes().fill(0xa5))
    });
    let zero = repeat(&|| fill(Pattern::Zero).0);
    let random = repeat(&|| fill(Pattern::Random).0);
    let (_, released, resident) = fill(Pattern::Random);
    println!("memory: 1 GiB, medians of {runs}");
    println!("floor: populate huge pages {floor:7.1} ms");
    println!("floor: memset              {memset:7.1} ms ({memset_huge:.1} ms on huge pages)");
    println!("zero pages                 {zero:7.1} ms = {:.2} of the floor (goal: 1.3)", zero / floor);
    println!(
        "random data                {random:7.1} ms = {:.2} of memset, {:.2} of memset on huge pages (goal: 1.5)",
        random / memset,
        random / memset_huge
    );
    if peer::is_here() {
        let other = repeat(&|| peer::fill(GIB));
        println!("stress-ng --vm 1           {other:7.1} ms (goal: ours is faster)");
    }
    println!(
        "resident                   {:+.4} % of asked (goal: within 0.1)",
        (resident as f64 / GIB as f64 - 1.0) * 100.0
    );
    println!("released                   {released:7.1} ms (goal: 50)");
}
