//! Busy processes beside the one that is measured.

use std::process::{Child, Command};

/// A process that takes all it gets of one CPU.
pub fn spin() -> ! {
    let mut count = 0u64;
    loop {
        count = std::hint::black_box(count).wrapping_add(1);
    }
}

/// Rivals, ended at the end.
pub struct Rivals(Vec<Child>);

impl Rivals {
    pub fn one_a_cpu() -> Rivals {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let rival = || Command::new(std::env::current_exe().unwrap()).arg("rival").spawn().unwrap();
        Rivals((0..cpus).map(|_| rival()).collect())
    }
}

impl Drop for Rivals {
    fn drop(&mut self) {
        for rival in &mut self.0 {
            let _ = rival.kill();
            let _ = rival.wait();
        }
    }
}
