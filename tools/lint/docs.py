#!/usr/bin/env python3
"""tools/lint/docs.py [OAR]: what the documents name is there: links and their headings, paths, verbs of make, names that begin with
oar_, functions that are called, and, where the binary is given, the options of its verbs. NAME, <name> and * in a path stand for anything."""
import collections
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = "src|tests|tools|docs|include|bench|examples|cli|bindings|proto|engines"
PATH = re.compile(rf"(?<![\w./-])(?:\.\./)*((?:{FOLDERS})/[\w./*<>{{}},-]*\w[\w./*<>{{}},-]*)")
ROOMS = "|".join(sorted(path.name for path in (ROOT / "src").iterdir()))
SHORT = re.compile(rf"(?<![\w./*>-])((?:{ROOMS}|oar)/[\w/]+\.[ch]|[\w-]+\.(?:c|h|py))\b(?!\.)")  # as #include has it, or a file's name alone


def committed(*patterns):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z", *patterns], cwd=ROOT, capture_output=True, check=True)
    return [name for name in out.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def anchors(path):
    """As GitHub makes them of headings."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken_link(name, target):
    place, _, anchor = target.partition("#")
    path = (ROOT / name).parent / place if place else ROOT / name
    if not path.exists():
        return f"links to {target}, which is not there"
    if anchor and anchor not in anchors(path):
        return f"links to {target}, which has no such heading"
    return None


def is_there(path):
    """A path with what stands for anything in it."""
    pattern = re.sub(r"<\w+>|\b[A-Z]{2,}(?![a-zA-Z])(?!\.md)|\{[^}]*\}", "*", path.rstrip("./,"))
    return (ROOT / path).exists() or (ROOT / pattern).exists() or any(ROOT.glob(pattern))


def is_file_of_ours(short, names):
    """names: all files by name. What a reader is to write is mine.* or has a NAME."""
    return short.startswith("mine.") or "NAME" in short or any(path.endswith(f"/{short}") for path in names[short.rpartition("/")[2]])


def code_of(text):
    """(line number, code) of what stands in backticks or in indented or fenced blocks; a block's line whole."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield number, line
        else:
            for code in re.findall(r"`([^`]+)`", line):
                yield number, code


def options_of_scripts():
    """Our scripts' own, which pages name too."""
    code = "\n".join((ROOT / name).read_text(errors="replace") for name in committed("bench/*", "tools/*", "bindings/*.py"))
    return {word.replace("_", "-") for word in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)}


def options_of(oar):
    verbs = re.findall(r"^  (\w+) ", subprocess.run([oar, "--help"], capture_output=True, text=True, check=True).stdout, re.M)
    known = {"--help", "--version"} | options_of_scripts()
    for verb in verbs:
        text = subprocess.run([oar, verb, "--help"], capture_output=True, text=True, check=True).stdout
        known |= {word.replace("_", "-") for word in re.findall(r"--[a-z][\w-]*", text)}
    return known


def faults_of(name, known, words, verbs, names):
    text = (ROOT / name).read_text()
    for match in re.finditer(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"\w+:", match[1]):
            fault = broken_link(name, match[1])
            if fault:
                yield text.count("\n", 0, match.start()) + 1, fault
    for number, code in code_of(text):
        for path in PATH.findall(code):
            if not is_there(path) and not (ROOT / name).parent.joinpath(path).exists():
                yield number, f"names {path}, which is not there"
        for short in SHORT.findall(code):
            if not is_file_of_ours(short, names):
                yield number, f"names {short}, which is not there"
        for word in re.findall(r"\bmake ([a-z]+)\b", code):
            if word not in verbs:
                yield number, f"`make {word}`: no such verb"
        for word in re.findall(r"(?<![\w.-])oar_[a-z0-9_]+\b", code):
            if word not in words:
                yield number, f"names {word}, which is nowhere in the code"
        for word in re.findall(r"\b([a-z]\w*_\w+)\(", code):
            if word not in words:
                yield number, f"calls {word}(), which is nowhere in the code"
        if known is None or re.match(r"\s*(?:\$ )?(?!.*\boar )[\w./-]+ .*", code) and "--" in code and not code.lstrip().startswith("--"):
            continue  # a line of another program
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", code):
            if option.replace("_", "-") not in known:
                yield number, f"names {option}, which no verb of oar and no script has"


def stale_mentions(name):
    """In code: pages of docs/ that comments send the reader to."""
    text = (ROOT / name).read_text(errors="replace")
    for match in re.finditer(r"\bdocs/[\w-]+\.md\b", text):
        if not (ROOT / match[0]).exists():
            yield text.count("\n", 0, match.start()) + 1, f"names {match[0]}, which is not there"


def main():
    known = options_of(sys.argv[1]) if len(sys.argv) > 1 and pathlib.Path(sys.argv[1]).exists() else None
    verbs = set(re.findall(r"[a-z]+", " ".join(re.findall(r"^([a-z ]+):", (ROOT / "Makefile").read_text(), re.M))))
    code = committed("*.c", "*.h", "*.py", "*.txt", "*.in", "*.yml", "*.json")
    words = set(re.findall(r"[a-z]\w*_\w+", "\n".join((ROOT / name).read_text(errors="replace") for name in code)))
    pages = committed("*.md")
    names = collections.defaultdict(list)
    for name in committed():
        names[name.rpartition("/")[2]].append(f"/{name}")
    errors = [f"{name}:{number}: {what}" for name in pages for number, what in faults_of(name, known, words, verbs, names)]
    errors += [f"{name}:{number}: {what}" for name in code for number, what in stale_mentions(name)]
    print("\n".join(errors) if errors else f"docs: {len(pages)} pages, all that they name is there")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
