package image

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"casemate/image/debian"
	"casemate/initramfs"
)

// packRoot gives the EROFS image of the root and its entries.
//
// Packing takes longer than the rest of a build, and nearly all of it is for
// what comes from packages. So that is packed first and kept; casemate's own
// files, which change all day, are added to a copy. A build from scratch takes
// the same two steps, and so gives the same bytes.
func (b *build) packRoot(ctx context.Context, bin string) (string, []initramfs.Entry, error) {
	entries, err := b.root(filepath.Join(bin, "casemate-node"), b.Config)
	if err != nil {
		return "", nil, err
	}
	text, err := os.ReadFile(b.policy.FileContexts)
	if err != nil {
		return "", nil, err
	}
	contexts, err := initramfs.ParseContexts(string(text))
	if err != nil {
		return "", nil, err
	}
	if err := contexts.Label(entries); err != nil {
		return "", nil, err
	}
	base, own := splitOwn(entries)
	mkfs := initramfs.Mkfs(tool(b.trees["tools"], "mkfs.erofs"))

	baseKey, err := initramfs.Key(base, b.trees["tools"].Key, initramfs.EROFSFormat)
	if err != nil {
		return "", nil, err
	}
	baseImage, base, err := b.kept("base", baseKey, base, func(image string, base []initramfs.Entry) error {
		const step = "pack the root"
		total := int64(len(base)) + 1 // one for what mkfs.erofs does after the last file
		b.Fetcher.Report(step, 0, total)
		err := initramfs.WriteEROFS(ctx, mkfs, image, base, func(done int) {
			b.Fetcher.Report(step, int64(done), total)
		})
		if err == nil {
			b.Fetcher.Report(step, total, total)
		}
		return err
	})
	if err != nil {
		return "", nil, err
	}

	key, err := initramfs.Key(own, baseKey)
	if err != nil {
		return "", nil, err
	}
	image, own, err := b.kept("root", key, own, func(image string, own []initramfs.Entry) error {
		return b.step("add casemate's programs to the root", func() error {
			err := writeTo(image, func(w io.Writer) error { return copyFile(w, baseImage) })
			if err != nil {
				return err
			}
			return initramfs.AddEROFS(ctx, mkfs, image, own)
		})
	})
	return image, joinOwn(base, own), err
}

// kept gives the image work/NAME.erofs and its entries: the last one if it was
// made with the same key, or a new one.
func (b *build) kept(name, key string, entries []initramfs.Entry, pack func(string, []initramfs.Entry) error) (string, []initramfs.Entry, error) {
	image, list := filepath.Join(b.work, name+".erofs"), filepath.Join(b.work, name+".json")
	var last struct {
		Key     string
		SHA256  string // of the image: a list may outlive what it lists
		Entries []initramfs.Entry
	}
	if data, err := os.ReadFile(list); err == nil && json.Unmarshal(data, &last) == nil && last.Key == key {
		if sum, err := debian.FileSHA256(image); err == nil && sum == last.SHA256 {
			return image, last.Entries, nil
		}
	}
	// The list goes first and comes last: an image without it is not whole.
	for _, name := range []string{list, image} {
		if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
			return "", nil, err
		}
	}
	if err := pack(image, entries); err != nil {
		os.Remove(image) // it may be what fills the disk
		return "", nil, err
	}
	for i := range entries {
		entries[i].Data = nil // a configuration may have secrets
	}
	sum, err := debian.FileSHA256(image)
	if err != nil {
		return "", nil, err
	}
	last.Key, last.SHA256, last.Entries = key, sum, entries
	data, err := json.Marshal(last)
	if err != nil {
		return "", nil, err
	}
	return image, entries, os.WriteFile(list, data, 0o644)
}

// splitOwn separates casemate's own files, with the directories above them,
// from everything else; the directories are in both.
func splitOwn(entries []initramfs.Entry) (base, own []initramfs.Entry) {
	above := map[string]bool{}
	for _, e := range entries {
		if isOwnFile(e) {
			for dir := path.Dir(e.Path); !above[dir]; dir = path.Dir(dir) {
				above[dir] = true
			}
		}
	}
	for _, e := range entries {
		if isOwnFile(e) || above[e.Path] {
			own = append(own, e)
		}
		if !isOwnFile(e) {
			base = append(base, e)
		}
	}
	return base, own
}

func isOwnFile(e initramfs.Entry) bool { return e.Mode.IsRegular() && e.Origin == initramfs.Own }

// joinOwn is the reverse of splitOwn.
func joinOwn(base, own []initramfs.Entry) []initramfs.Entry {
	all := slices.Clone(base)
	for _, e := range own {
		if isOwnFile(e) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b initramfs.Entry) int { return strings.Compare(a.Path, b.Path) })
	return all
}
