"""A model goes to the Hub: a folder, or a model in memory -> whole, with a card -> one commit.

What goes by `push_to_hub` of a pipeline, a model or a processor is the same files; only from here they are checked,
have a card, and replace all parts of the model that was there before.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete

from mer_hf.hub.cards import card_text
from mer_hf.hub.connection import HubError, connect, explained
from mer_hf.hub.folder import Parcel, check_whole, is_part, pack, save_model_folder
from mer_hf.rcn.modeling_rcn import RcnForVideoClassification
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor

CARD = "README.md"


@dataclass(frozen=True)
class Pushed:
    """Where a model went.

    Attributes:
        url: of the commit.
        is_new: whether anything had changed, so that a commit was made.
    """

    url: str
    is_new: bool


def push(
    folder: Parcel | str | Path,
    repo_id: str,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    token: str | None = None,
) -> Pushed:
    """Push a model folder to the Hub, in one commit; an unchanged one makes none.

    A repository that does not exist is created. Files that a model there had and this one has not, such as the shards
    of larger weights, are removed in the same commit; other files there stay. What had been uploaded before a push was
    interrupted is not uploaded again. Where neither the folder nor the repository has a card, one is written from the
    configuration.

    Args:
        folder: the output folder of a run, what `pipe.save_pretrained` wrote, or what `pack` makes of one.
        repo_id: `user/name`.
        private: make the repository a private one.
        revision: branch, created where it does not exist; main by default.
        message: of the commit.
        token: that may write there; the one of HF_TOKEN or of `hf auth login` by default.

    Raises:
        HubError: for a model that is not whole, before anything is sent; where the Hub cannot be reached or refuses;
            and for a private push into a public repository.
        CardError: where a card cannot be written.
    """
    parcel = folder if isinstance(folder, Parcel) else pack(folder)
    check_whole(parcel)
    files: dict[str, Path | bytes] = {name: parcel.folder / name for name in parcel.files}
    written = {} if CARD in files else {CARD: card_text(parcel.folder).encode()}
    with explained(repo_id):
        api = connect(repo_id, token)
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        before = api.model_info(repo_id, revision=revision)
        if private and not before.private:
            raise HubError(
                f"{repo_id} is there already and public; --private makes a new repository private, and never changes "
                f"one. Change it at {api.endpoint}/{repo_id}/settings, or choose another name."
            )
        names = {file.rfilename for file in before.siblings or ()}
        files |= {} if CARD in names else written
        stale = names - {*files, CARD, ".gitattributes"}
        operations = [
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()),
            *(CommitOperationDelete(path_in_repo=name, is_folder=False) for name in sorted(filter(is_part, stale))),
        ]
        message = message or "Upload a model of mer_hf"
        commit = api.create_commit(repo_id, operations, commit_message=message, revision=revision)
    return Pushed(commit.commit_url, commit.oid != before.sha)


def push_model(
    model: RcnForVideoClassification,
    processor: RcnVideoProcessor,
    repo_id: str,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    token: str | None = None,
) -> Pushed:
    """Push a model that is in memory, with its processor, as `push` does with a folder."""
    with tempfile.TemporaryDirectory(prefix="mer_hf-") as beside:
        folder = save_model_folder(model, processor, Path(beside) / "model")
        return push(pack(folder), repo_id, private, revision, message, token)


def check_login(repo_id: str, token: str | None = None) -> None:
    """Refuse a name that no repository can have, or a token that the Hub does not know: before hours of training.

    Raises:
        HubError: as `push`.
    """
    with explained(repo_id):
        connect(repo_id, token).whoami()


__all__ = ["Pushed", "check_login", "push", "push_model"]
