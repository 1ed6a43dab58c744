use super::super::criticality::Criticality::Default as Normal;
use super::super::rig::{MS, Rig, SECOND};
use super::super::settings::Concurrency;

fn rig(seed: u64) -> Rig {
    Rig::new(&Concurrency::default(), seed)
}

#[test]
fn explore() {
    for seed in 1..7 {
        for load in [0.5, 0.8, 0.95, 2.0, 10.0] {
            let mut rig = rig(seed);
            rig.source(Normal, 1, load * 5000.0);
            rig.run(2 * SECOND);
            let early = rig.limits;
            let l2 = rig.gate.limit();
            rig.count_anew();
            rig.run(25 * SECOND);
            let t = rig.total();
            eprintln!(
                "seed {seed} load {load}: early {early:?} {l2} limit {} {:?} goodput {:.3} shed {:.4}% p99 {:.0} waited_max {} {:?}",
                rig.gate.limit(),
                rig.limits,
                f64::from(t.done) / 125_000.0,
                100.0 * f64::from(t.shed()) / f64::from(t.came),
                t.quantile_ms(0.99),
                t.waited_max / MS,
                t.refused
            );
        }
    }
}
