"""Published models, layers and losses, small and at random arguments, for `compare --published`.

Each function imports its package and returns (a function, its arguments).
"""
# mypy: disable-error-code="import-not-found"

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["PUBLISHED", "Published"]

Model = tuple[Callable, tuple[Any, ...]]


class Published(NamedTuple):
    """A model: make() imports its package and returns (function, arguments)."""

    name: str
    package: str
    make: Callable[[], Model]
    known: Mapping[str, str] = {}
    """Rules that are known to differ from their plain functions, and why: on purpose, or by rounding."""


def normal(*shape: int, seed: int = 0) -> Any:
    return jax.random.normal(jax.random.key(seed), shape)


def positive(*shape: int, seed: int = 0) -> Any:
    return jnp.exp(normal(*shape, seed=seed))


# JAX's own.


def activations() -> Model:
    names = ("relu", "relu6", "gelu", "silu", "elu", "celu", "selu", "softplus", "log_sigmoid", "sparse_plus", "mish",
             "squareplus", "hard_tanh", "softmax", "log_softmax", "logsumexp", "standardize", "glu")
    return (lambda x: [getattr(jax.nn, name)(x) for name in names]), (normal(4, 6),)


def special_functions() -> Model:
    special: Any = jax.scipy.special

    def f(x: Any, p: Any) -> Any:
        return (special.xlogy(x, p), special.xlog1py(x, p), special.entr(p), special.logsumexp(x), special.i0e(x),
                special.i1e(x), special.ndtri(p), special.log_ndtr(x), special.betaln(p, p + 1), special.rel_entr(p, p),
                special.kl_div(p, 2 * p), special.expi(p), special.zeta(1 + p, p), jnp.sinc(x), jnp.logaddexp(x, p))

    return f, (normal(5), 0.1 + 0.8 * jax.random.uniform(jax.random.key(1), (5,)))


# Flax.


def flax_of(module: Any, *inputs: Any) -> Model:
    """The mean square of a Linen module's value."""
    variables = module.init(jax.random.key(0), *inputs)

    def f(params: Any, *inputs: Any) -> Any:
        y, _ = module.apply({**variables, "params": params}, *inputs, mutable=[k for k in variables if k != "params"])
        return jnp.mean(jnp.square(y))

    return f, (variables["params"], *inputs)


def flax_encoder() -> Model:
    import optax
    from flax import linen as nn

    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, tokens: Any) -> Any:
            x = nn.Embed(20, 16)(tokens)
            for _ in range(2):
                x = x + nn.MultiHeadDotProductAttention(4, deterministic=True)(nn.LayerNorm()(x))
                x = x + nn.Dense(16)(nn.gelu(nn.Dense(32)(nn.LayerNorm()(x))))
            return nn.Dense(20)(x)

    tokens = jnp.arange(12).reshape(2, 6) % 20
    model = Encoder()
    params = model.init(jax.random.key(0), tokens)

    def f(params: Any, tokens: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(model.apply(params, tokens), tokens).mean()

    return f, (params, tokens)


def flax_lstm() -> Model:
    from flax import linen as nn

    return flax_of(nn.RNN(nn.OptimizedLSTMCell(8)), normal(2, 5, 4))


def flax_norms() -> Model:
    from flax import linen as nn

    class Norms(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.relu(nn.BatchNorm(use_running_average=False)(nn.Conv(8, (3, 3))(x)))
            x = nn.silu(nn.GroupNorm(2)(nn.WeightNorm(nn.Conv(8, (3, 3)))(x)))
            x = nn.avg_pool(x, (2, 2), (2, 2)).reshape(x.shape[0], -1)
            return nn.RMSNorm()(nn.SpectralNorm(nn.Dense(4))(x, update_stats=True))

    return flax_of(Norms(), normal(2, 6, 6, 3))


def flax_fp8() -> Model:
    from flax import linen as nn

    return flax_of(nn.Dense(16, dot_general_cls=nn.Fp8DotGeneralOp), normal(4, 16))


def nnx_attention() -> Model:
    from flax import nnx

    rngs = nnx.Rngs(0)
    model = nnx.Sequential(nnx.Linear(8, 16, rngs=rngs), jax.nn.gelu, nnx.LoRA(16, 2, 16, rngs=rngs), nnx.silu,
                           nnx.MultiHeadAttention(4, 16, decode=False, rngs=rngs), nnx.LayerNorm(16, rngs=rngs))
    graph, state = nnx.split(model)
    return (lambda state, x: nnx.merge(graph, state)(x)), (state, normal(2, 5, 8))


# Optax.


def optax_losses() -> Model:
    from optax import losses as optax

    def f(logits: Any, targets: Any, p: Any) -> Any:
        labels = jnp.arange(logits.shape[0])
        paddings = jnp.zeros(logits.shape[:1])
        return (optax.softmax_cross_entropy(logits, p), optax.sigmoid_focal_loss(logits, p),
                optax.huber_loss(logits, p), optax.safe_softmax_cross_entropy(logits, p),
                optax.poly_loss_cross_entropy(logits, p),
                optax.multiclass_sparsemax_loss(logits, labels), optax.sparsemax_loss(logits, p > 0.2),
                optax.kl_divergence(jax.nn.log_softmax(logits), p), optax.log_cosh(logits, targets),
                optax.cosine_distance(logits, targets), optax.multiclass_hinge_loss(logits, labels),
                optax.multiclass_perceptron_loss(logits, labels), optax.ranking_softmax_loss(logits, p),
                optax.ctc_loss(logits[None], paddings[None], labels[None, :2], jnp.zeros((1, 2))),
                optax.triplet_margin_loss(logits, targets, p))

    return f, (normal(4, 5), normal(4, 5, seed=1), jax.nn.softmax(normal(4, 5, seed=2)))


def optax_projections() -> Model:
    from optax import projections

    def f(x: Any) -> Any:
        return (projections.projection_simplex(x), projections.projection_l1_ball(x, 0.5),
                projections.projection_l2_ball(x, 0.5), projections.projection_box(x, -0.1, 0.1),
                projections.projection_halfspace(x, jnp.ones_like(x), 0.1), projections.projection_non_negative(x))

    return f, (normal(6),)


# Equinox and those above it.


def equinox_of(model: Any, call: Callable, *inputs: Any) -> Model:
    import equinox as eqx

    params, static = eqx.partition(model, eqx.is_inexact_array)
    return (lambda params, *inputs: call(eqx.combine(params, static), *inputs)), (params, *inputs)


def equinox_layers() -> Model:
    import equinox as eqx

    keys = jax.random.split(jax.random.key(0), 4)
    model = (eqx.nn.MLP(4, 8, 8, 2, key=keys[0]), eqx.nn.MultiheadAttention(2, 8, key=keys[1]),
             eqx.nn.LayerNorm(8), eqx.nn.GRUCell(8, 8, key=keys[2]))

    def call(model: Any, x: Any) -> Any:
        mlp, attention, norm, cell = model
        h = jax.vmap(norm)(jax.vmap(mlp)(x))
        h = attention(h, h, h)
        return jax.lax.scan(lambda s, x: (cell(x, s), None), jnp.zeros(8), h)[0]

    return equinox_of(model, call, normal(6, 4))


def equinox_loop() -> Model:
    from equinox.internal import while_loop

    def f(x: Any) -> Any:
        return while_loop(lambda s: s[0] < 7, lambda s: (s[0] + 1, jnp.sin(s[1]) * x), (0, x), kind="checkpointed",
                          max_steps=16)[1]

    return f, (normal(3),)


def lineax_solve() -> Model:
    import lineax as lx

    def f(a: Any, b: Any) -> Any:
        operator = lx.MatrixLinearOperator(a @ a.T + jnp.eye(4), lx.positive_semidefinite_tag)
        return (lx.linear_solve(operator, b, lx.CG(1e-6, 1e-6)).value, lx.linear_solve(
            lx.MatrixLinearOperator(a), b).value)

    return f, (normal(4, 4), normal(4, seed=1))


def optimistix_roots() -> Model:
    import optimistix as optx

    def f(a: Any) -> Any:
        solution = optx.root_find(lambda y, a: y - jnp.tanh(a @ y) - 0.1, optx.Newton(1e-6, 1e-6), jnp.zeros(3), a)
        fit = optx.least_squares(lambda y, a: a @ y - 1.0, optx.LevenbergMarquardt(1e-6, 1e-6), jnp.zeros(3), a)
        return solution.value, fit.value, optx.rms_norm(a), optx.max_norm(a)

    return f, (0.3 * normal(3, 3),)


def diffrax_of(adjoint: str) -> Callable[[], Model]:
    def make() -> Model:
        import diffrax
        import equinox as eqx

        def call(field: Any, y: Any) -> Any:
            term = diffrax.ODETerm(lambda t, y, _: field(y))
            return diffrax.diffeqsolve(term, diffrax.Tsit5(), 0.0, 1.0, 0.25, y, adjoint=getattr(diffrax, adjoint)()).ys

        field = eqx.nn.MLP(2, 2, 8, 1, jax.nn.softplus, key=jax.random.key(0))
        return equinox_of(field, call, normal(2))

    return make


# Others.


def haiku_of(make: Callable[[Any], Callable], *inputs: Any) -> Model:
    import haiku as hk

    net = hk.transform_with_state(lambda *inputs: make(hk)(*inputs))
    params, state = net.init(jax.random.key(0), *inputs)
    return (lambda params, *inputs: net.apply(params, state, jax.random.key(1), *inputs)[0]), (params, *inputs)


def haiku_resnet() -> Model:
    return haiku_of(lambda hk: lambda x: hk.nets.ResNet18(10)(x, is_training=True), normal(2, 32, 32, 3))


def haiku_vq() -> Model:
    def make(hk: Any) -> Callable:
        def autoencoder(x: Any) -> Any:
            code = hk.nets.VectorQuantizerEMA(4, 8, 0.25, 0.9)(hk.Linear(4)(jax.nn.relu(hk.Linear(8)(x))), True)
            return hk.Linear(6)(code["quantize"]), code["loss"]

        return autoencoder

    return haiku_of(make, normal(5, 6))


def jaxopt_implicit() -> Model:
    import jaxopt

    data = normal(6, 3)  # closed over: JAX has no gradient of what a custom_vjp closes over

    def ridge(w: Any, penalty: Any) -> Any:
        return jnp.mean(jnp.square(data @ w - 1)) + penalty * jnp.sum(w * w)

    def f(penalty: Any, x: Any) -> Any:
        solver, projection = jaxopt.GradientDescent(ridge, maxiter=50, implicit_diff=True), jaxopt.projection
        return (solver.run(jnp.zeros(3), penalty).params, projection.projection_simplex(x),
                projection.projection_l1_ball(x, 1.0), projection.projection_l2_ball(x, 0.5),
                jaxopt.isotonic.isotonic_l2_pav(x))

    return f, (jnp.float32(0.1), normal(3, seed=1))


def e3nn_harmonics() -> Model:
    import e3nn_jax as e3nn

    def f(x: Any) -> Any:
        y = e3nn.spherical_harmonics("0e + 1o + 2e + 3o", e3nn.IrrepsArray("1o", x), normalize=True)
        return e3nn.tensor_product(y, e3nn.norm_activation(y, [jax.nn.silu] * 4)).array, e3nn.norm(y).array

    return f, (normal(4, 3),)


def numpyro_distributions() -> Model:
    from numpyro import distributions as dist

    def f(loc: Any, scale: Any, x: Any) -> Any:
        return (dist.TruncatedNormal(loc, scale, low=-3.0).log_prob(x), dist.VonMises(loc, scale).log_prob(x),
                dist.BinomialLogits(loc, 5).log_prob(jnp.arange(4)), dist.LKJCholesky(3, 1.5).log_prob(jnp.eye(3)),
                dist.MultivariateStudentT(3.0, loc, jnp.diag(scale)).log_prob(x), dist.ProjectedNormal(x[:3]).log_prob(
                    loc[:3] / jnp.linalg.norm(loc[:3])), dist.TruncatedCauchy(loc, scale, low=-3.0).log_prob(x),
                dist.NegativeBinomial2(scale, scale).log_prob(jnp.arange(4)), dist.Gamma(scale, 2.0).rsample(
                    jax.random.key(0)))

    return f, (normal(4), positive(4), 0.5 * normal(4, seed=2))


def ott_sinkhorn() -> Model:
    from ott.geometry import pointcloud
    from ott.math import matrix_square_root
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn
    def f(x: Any, y: Any) -> Any:
        problem = linear_problem.LinearProblem(pointcloud.PointCloud(x, y, epsilon=0.5))
        square_root = matrix_square_root.sqrtm_only(x.T @ x + jnp.eye(x.shape[1]))
        return sinkhorn.Sinkhorn()(problem).reg_ot_cost, square_root

    return f, (normal(6, 3), normal(5, 3, seed=1))


def brax_math() -> Model:
    from brax import math

    return (lambda x: (math.safe_norm(x), math.safe_arccos(0.5 * jnp.tanh(x)), math.safe_arcsin(0.5 * jnp.tanh(x)),
                       math.quat_to_euler(jnp.append(x, 1.0)))), (normal(3),)


def tinygp_likelihood() -> Model:
    import tinygp

    def f(scale: Any, x: Any, y: Any) -> Any:
        kernel = tinygp.kernels.quasisep.Matern32(scale) + tinygp.kernels.quasisep.Celerite(1.0, 0.2, 0.5, 0.1)
        dense = tinygp.GaussianProcess(tinygp.kernels.ExpSquared(scale), x, diag=0.1)
        return tinygp.GaussianProcess(kernel, x, diag=0.1).log_probability(y), dense.log_probability(y)

    return f, (jnp.float32(1.5), jnp.sort(normal(8)), normal(8, seed=1))


def jraph_network() -> Model:
    import jraph

    receivers, senders = jnp.array([0, 1, 2, 3, 4, 0, 1]), jnp.array([1, 2, 3, 4, 0, 2, 3])
    graph = jraph.GraphsTuple(normal(5, 4), normal(7, 3), receivers, senders, normal(1, 2), jnp.array([5]),
                              jnp.array([7]))
    weights = normal(13, 4), normal(14, 4)

    def f(weights: Any, nodes: Any) -> Any:
        net = jraph.GraphNetwork(
            lambda e, s, r, g: jax.nn.relu(jnp.concatenate([e, s, r, g], -1) @ weights[0]),
            lambda n, s, r, g: jax.nn.silu(jnp.concatenate([n, s, r, g], -1) @ weights[1]))
        return net(graph._replace(nodes=nodes)).nodes, jraph.segment_softmax(nodes[:, 0], jnp.array([0, 0, 1, 1, 1]), 2)

    return f, (weights, graph.nodes)


PUBLISHED = (
    Published("jax.nn, all activations", "jax", activations),
    Published("jax.scipy.special", "jax", special_functions, {
        "zeta": "is NaN by its first argument"}),
    Published("flax.linen, encoder", "flax", flax_encoder),
    Published("flax.linen, LSTM", "flax", flax_lstm),
    Published("flax.linen, norms", "flax", flax_norms),
    Published("flax.linen, fp8 Dense", "flax", flax_fp8, {
        "in_qdq": "passes dy on as if nothing was rounded", "out_qdq": "rounds dy to float8"}),
    Published("flax.nnx, attention and LoRA", "flax", nnx_attention),
    Published("optax.losses", "optax", optax_losses, {
        "logaddexp": "loses digits at -1e5, the logarithm of 0 in ctc_loss"}),
    Published("optax.projections", "optax", optax_projections),
    Published("equinox.nn, attention and GRU", "equinox", equinox_layers),
    Published("equinox, checkpointed loop", "equinox", equinox_loop),
    Published("lineax.linear_solve", "lineax", lineax_solve),
    Published("optimistix, roots and least squares", "optimistix", optimistix_roots),
    Published("diffrax, checkpointed adjoint", "diffrax", diffrax_of("RecursiveCheckpointAdjoint")),
    Published("diffrax, backward adjoint", "diffrax", diffrax_of("BacksolveAdjoint"), {
        "fn_wrapped": "closes over values, and cannot be compared by itself"}),
    Published("haiku, ResNet-18", "dm-haiku", haiku_resnet),
    Published("haiku, VQ autoencoder", "dm-haiku", haiku_vq),
    Published("jaxopt, implicit and projections", "jaxopt", jaxopt_implicit, {
        "solver_fun_flat": "differentiates the optimum, not the steps"}),
    Published("e3nn, harmonics and gates", "e3nn-jax", e3nn_harmonics),
    Published("numpyro.distributions", "numpyro", numpyro_distributions),
    Published("ott, Sinkhorn", "ott-jax", ott_sinkhorn),
    Published("brax.math", "brax", brax_math),
    Published("tinygp, likelihood", "tinygp", tinygp_likelihood),
    Published("jraph, GraphNetwork", "jraph", jraph_network),
)
