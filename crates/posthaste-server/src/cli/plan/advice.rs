//! What to do, in one plain sentence.

use posthaste_core::plan::{Load, Plan};

use super::told::{number, time};

/// What to do about a load.
pub(super) fn advice(load: &Load, plan: &Plan) -> String {
    if plan.now.wait.is_none() {
        return too_few(load, plan);
    }
    match (load.target_wait, plan.workers_needed) {
        (Some(target), Some(needed)) => targeted(load, plan, needed, &time(target)),
        _ => untargeted(plan),
    }
}

fn too_few(load: &Load, plan: &Plan) -> String {
    let grows = number(plan.now.growth_per_second);
    let stable = plan.workers_stable;
    let mut told = format!(
        "add {}: the backlog grows by {grows} a second; at least {}",
        workers(stable - load.workers.min(stable)),
        workers(stable),
    );
    if let (Some(target), Some(needed)) = (load.target_wait, plan.workers_needed) {
        let target = time(target);
        told.push_str(&format!(
            " to keep up, and {needed} to wait at most {target}"
        ));
    }
    told
}

fn targeted(load: &Load, plan: &Plan, needed: u32, target: &str) -> String {
    let have = load.workers;
    if needed > have {
        let missing = workers(needed - have);
        return format!("add {missing}: it takes {needed} to wait at most {target}");
    }
    let spare = have - needed;
    match spare {
        0 => format!(
            "enough, with none to spare: without one of them jobs wait longer than {target}; \
             add one to withstand its loss"
        ),
        1 => format!("enough, and still so without one of them (it takes {needed})"),
        _ => {
            let more = number(plan.headroom_to_target_per_second.unwrap_or(0.0));
            format!("enough: {needed} would do, and {more} more a second would still be in time")
        }
    }
}

fn untargeted(plan: &Plan) -> String {
    match plan.one_less {
        None => "enough, with none to spare: without this worker nothing is done; \
                 add one to withstand its loss"
            .to_owned(),
        Some(less) if less.wait.is_none() => format!(
            "enough, with none to spare: without one of them the backlog grows by {} a second; \
             add one to withstand its loss",
            number(less.growth_per_second)
        ),
        Some(_) => "enough, and still so without one of them; \
                    --target-wait says how many a wait takes"
            .to_owned(),
    }
}

fn workers(count: u32) -> String {
    match count {
        1 => "1 worker".to_owned(),
        count => format!("{count} workers"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use posthaste_core::plan::plan;

    use super::*;

    fn check(arrivals: f64, workers: u32, target: Option<u64>, says: &str) {
        let load = Load {
            target_wait: target.map(Duration::from_millis),
            ..Load::new(arrivals, Duration::from_millis(100), workers)
        };
        let told = advice(&load, &plan(&load).expect("it can be planned"));
        assert_eq!(told, says);
    }

    #[test]
    fn each_case_has_its_sentence() {
        check(
            112.0,
            10,
            None,
            "add 2 workers: the backlog grows by 12 a second; at least 12 workers",
        );
        check(
            112.0,
            11,
            Some(100),
            "add 1 worker: the backlog grows by 2 a second; at least 12 workers to keep up, \
             and 15 to wait at most 100ms",
        );
        check(
            112.0,
            12,
            Some(100),
            "add 3 workers: it takes 15 to wait at most 100ms",
        );
        check(
            112.0,
            15,
            Some(100),
            "enough, with none to spare: without one of them jobs wait longer than 100ms; \
             add one to withstand its loss",
        );
        check(
            112.0,
            16,
            Some(100),
            "enough, and still so without one of them (it takes 15)",
        );
        check(
            112.0,
            12,
            None,
            "enough, with none to spare: without one of them the backlog grows by 2 a second; \
             add one to withstand its loss",
        );
        check(
            2.0,
            1,
            None,
            "enough, with none to spare: without this worker nothing is done; \
             add one to withstand its loss",
        );
        check(
            112.0,
            20,
            None,
            "enough, and still so without one of them; --target-wait says how many a wait takes",
        );
    }

    #[test]
    fn plenty_says_how_much_more_would_be_in_time() {
        let load = Load {
            target_wait: Some(Duration::from_millis(100)),
            ..Load::new(112.0, Duration::from_millis(100), 40)
        };
        let told = advice(&load, &plan(&load).expect("it can be planned"));
        assert!(told.starts_with("enough: 15 would do, and "), "{told}");
    }
}
