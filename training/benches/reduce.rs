//! How much of the travel of gradients is hidden behind the backward pass: two ranks of gloo on this machine.
//!
//! `cargo bench --bench reduce`. A stack of linear layers, one thread a rank; the same steps without any travel, with it behind the
//! backward pass, and with it beside. Rounds of the three in turn: other work on the machine meets all. Nothing fails by the
//! clock.

use std::net::TcpListener;
use std::process::Command;
use std::time::Instant;

use egofx_train::distributed::launch;
use egofx_train::distributed::{Backend, World};
use egofx_train::native;
use tch::nn::{self, Module, VarStore};
use tch::{Device, Kind, Tensor};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const LAYERS: i64 = 96;
const WIDTH: i64 = 512;
const BATCH: i64 = 256;
const ROUNDS: usize = 7;
const STEPS: usize = 3;

/// When gradients travel.
#[derive(Clone, Copy)]
enum Travel {
    Never,
    Behind,
    Beside,
}

fn main() -> Fallible<()> {
    if std::env::var_os("RANK").is_some() {
        return rank();
    }
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let start = |rank: usize| {
        Command::new(std::env::current_exe()?)
            .envs([("RANK", rank.to_string().as_str()), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")])
            .envs([("MASTER_PORT", port.as_str()), ("OMP_NUM_THREADS", "1")])
            .spawn()
    };
    let ranks = (0..2).map(start).collect::<Result<Vec<_>, _>>()?;
    for mut rank in ranks {
        if !rank.wait()?.success() {
            return Err("a rank has failed".into());
        }
    }
    Ok(())
}

fn rank() -> Fallible<()> {
    tch::set_num_threads(1);
    let launch = launch::find(|name| std::env::var(name).ok())?.ok_or("no launch")?;
    let world = World::join(&launch, Backend::Gloo)?;
    let variables = VarStore::new(Device::Cpu);
    let layer = |number: i64| nn::linear(variables.root() / number, WIDTH, WIDTH, nn::LinearConfig::default());
    let layers: Vec<nn::Linear> = (0..LAYERS).map(layer).collect();
    let weights: Vec<Tensor> = variables.trainable_variables();
    let bytes: usize = weights.iter().map(|weight| weight.numel() * 4).sum();
    let gradients = world.gradients(&weights)?;
    let step = |travel: Travel| -> Fallible<()> {
        native::zero_grad(&weights)?;
        let input = Tensor::ones([BATCH, WIDTH], (Kind::Float, Device::Cpu));
        let output = layers.iter().fold(input, |input, layer| layer.forward(&input).relu());
        if matches!(travel, Travel::Beside) {
            gradients.begin()?;
        }
        output.sum(Kind::Float).f_backward()?;
        if !matches!(travel, Travel::Never) {
            gradients.average()?;
        }
        Ok(())
    };
    let timed = |travel: Travel| -> Fallible<f64> {
        world.all_reduce_sum(&[0.0])?;
        let start = Instant::now();
        (0..STEPS).try_for_each(|_| step(travel))?;
        world.all_reduce_sum(&[0.0])?;
        Ok(1e3 * start.elapsed().as_secs_f64() / STEPS as f64)
    };
    // The first pass notes the order of the gradients.
    step(Travel::Beside)?;
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (times, travel) in times.iter_mut().zip([Travel::Never, Travel::Behind, Travel::Beside]) {
            times.push(timed(travel)?);
        }
    }
    if world.is_rank0() {
        let [never, behind, beside] = times.map(median);
        println!(
            "2 ranks of gloo, {LAYERS} layers, {:.0} MB of gradients; ms a step, median of {ROUNDS}",
            bytes as f64 / 1e6
        );
        println!("no travel {never:.0}, behind the backward pass {behind:.0}, beside it {beside:.0}");
        println!("hidden: {:.2} of the travel", (behind - beside) / (behind - never));
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
