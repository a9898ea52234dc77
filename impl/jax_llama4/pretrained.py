"""What every top-level class can do with checkpoints: build itself from HF's tensors and folders, and write them."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TextIO

import jax.numpy as jnp
from jax.sharding import Mesh

from jax_llama4.checkpoint import CheckpointError
from jax_llama4.config_base import Config, ConfigError
from jax_llama4.loading import Progress, ProgressCallback, load_state_dict, load_tensors, tensors_to_write
from jax_llama4.precision import Numerics, resolve
from jax_llama4.sharding import Rules, as_placement
from jax_llama4.tensor_files import CONFIG_FILE, NewTensor, StoredTensor, read_folder, write_folder

MAX_SHARD_BYTES = 5 * 1000**3


class Pretrained:
    """Mixin of `nnx.Module` classes whose constructor takes (config, *, numerics, rngs)."""

    config_class: ClassVar[type[Config]]
    # Where the class sits in the multimodal model, under whose names checkpoint.RULES lists the parameters.
    checkpoint_root: ClassVar[str]
    config: Any
    numerics: Any

    @classmethod
    def require_config(cls, config: Any) -> None:
        """Raise TypeError for a configuration of another class."""
        if not isinstance(config, cls.config_class):
            raise TypeError(f"{cls.__name__}: expected a {cls.config_class.__name__}, got a {type(config).__name__}")

    @property
    def dtype(self) -> Any:
        """Of activations. EasyDeL's name, as are the next two, for what `numerics` says."""
        return self.numerics.compute

    @property
    def param_dtype(self) -> Any:
        """Of stored weights."""
        return self.numerics.param

    @property
    def precision(self) -> Any:
        """Of matrix products."""
        return self.numerics.precision

    @classmethod
    def from_state_dict(
        cls,
        config: Config,
        state: Mapping[str, Any],
        *,
        numerics: Numerics,
        mesh: Mesh | None = None,
        rules: Rules | str | None = None,
        **options: Any,
    ) -> Self:
        """Build the model from HF tensors by name; raises CheckpointError. See `loading.load_tensors`."""
        return load_state_dict(config, state, numerics, cls, placement=as_placement(mesh, rules), **options)

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        dtype: Any = None,
        param_dtype: Any = None,
        precision: Any = None,
        *,
        numerics: Numerics | None = None,
        mesh: Mesh | None = None,
        rules: Rules | str | None = None,
        progress: ProgressCallback | None = None,
        **options: Any,
    ) -> Self:
        """Build the model from a folder with `config.json` and safetensors of this class or of one that contains it.

        A text or vision class takes its part of a multimodal folder. Tensors are read one at a time, and with `mesh`
        and `rules` each device gets its part only: host memory holds the largest tensor, not the model. `dtype`
        defaults to the one most of the file is stored in, as in HF, and `param_dtype` to `dtype`. `progress` is called
        after each tensor; None draws a line where stderr is a terminal. `options` go to the constructor.

        Raises CheckpointError with everything that is wrong with the files and their tensors; nothing is ever left at
        random values, so a class whose head is not in the file cannot be loaded from it. Raises ShardingError.
        """
        folder = Path(path)
        placement = as_placement(mesh, rules)
        problems: list[str] = []
        config = _read_config(cls.config_class, folder, problems)
        tensors = read_folder(folder, problems)
        if config is None:
            raise CheckpointError(problems)
        if dtype is None and numerics is None:
            dtype = _stored_dtype(tensors)
        return load_tensors(
            config,
            ((tensor.name, tensor) for tensor in tensors),
            resolve(dtype, param_dtype, precision, numerics),
            cls,
            placement=placement,
            progress=progress or _terminal("loading"),
            problems=problems,
            **options,
        )

    def save_pretrained(
        self,
        path: str | os.PathLike[str],
        max_shard_bytes: int = MAX_SHARD_BYTES,
        *,
        progress: ProgressCallback | None = None,
    ) -> None:
        """Write `config.json` and safetensors as HF does, in the dtype of the parameters, for `transformers` to load.

        One file, or numbered shards of at most `max_shard_bytes` with an index. All or nothing: see
        `tensor_files.write_folder`. One tensor at a time is fetched from the devices.
        """
        tensors = tensors_to_write(self)
        report = progress or _terminal("saving")
        total_bytes = sum(tensor.nbytes for tensor in tensors)
        done = [0, 0]

        def written(tensor: NewTensor) -> None:
            done[:] = done[0] + 1, done[1] + tensor.nbytes
            if report is not None:
                report(Progress(tensor.name, done[0], len(tensors), done[1], total_bytes))

        about = {"architectures": [type(self).__name__], "dtype": self.numerics.param.name}
        write_folder(Path(path), about | self.config.to_dict(), tensors, max_shard_bytes, written)


def _read_config(config_class: type[Config], folder: Path, problems: list[str]) -> Config | None:
    try:
        return config_class.from_json(folder / CONFIG_FILE)
    except ConfigError as error:
        problems += [f"{CONFIG_FILE}: {problem}" for problem in error.problems]
    except FileNotFoundError:
        problems.append(f"{folder / CONFIG_FILE}: missing file")
    except (OSError, ValueError) as error:
        problems.append(f"{CONFIG_FILE}: {error}")
    return None


def _stored_dtype(tensors: list[StoredTensor]) -> Any:
    """The floating dtype of most bytes; None where there is none."""
    stored: dict[Any, int] = {}
    for tensor in tensors:
        if jnp.issubdtype(tensor.dtype, jnp.floating):
            stored[tensor.dtype] = stored.get(tensor.dtype, 0) + tensor.nbytes
    return max(stored, key=stored.__getitem__, default=None)


def _terminal(verb: str) -> ProgressCallback | None:
    """Keep one line of a terminal up to date, or nothing where stderr is none."""
    stream: TextIO | None = sys.stderr
    if stream is None or not stream.isatty():
        return None
    start = time.monotonic()
    drawn = -1.0

    def draw(progress: Progress) -> None:
        nonlocal drawn
        elapsed = time.monotonic() - start
        last = progress.tensors == progress.total_tensors
        if elapsed - drawn < 0.1 and not last:
            return
        drawn = elapsed
        gigabytes, total = progress.nbytes / 1e9, progress.total_bytes / 1e9
        rate = gigabytes / elapsed if elapsed else 0.0
        line = (
            f"{verb} {progress.tensors}/{progress.total_tensors} tensors, {gigabytes:.2f} of {total:.2f} GB, "
            f"{rate:.2f} GB/s"
        )
        stream.write(f"\r{line}\033[K" + ("\n" if last else ""))
        stream.flush()

    return draw
