package image

import (
	"context"

	"casemate/image/debian"
)

// Trees gives unpacked package sets of the default profile by name: "node" (the
// kernel, QEMU and its firmware), "tools" (secilc, mkfs.erofs, kmod), "trial"
// (the NFS server of tests and `casemate run`). What the cache does not have is
// fetched, silently. Run programs with Tree.Command, find files with Tree.Path.
func Trees(ctx context.Context, names ...string) (map[string]*debian.Tree, error) {
	profile, err := DefaultProfile()
	if err != nil {
		return nil, err
	}
	return profile.trees(ctx, &debian.Fetcher{}, names...)
}

func (p *Profile) trees(ctx context.Context, fetcher *debian.Fetcher, names ...string) (map[string]*debian.Tree, error) {
	trees := map[string]*debian.Tree{}
	for _, name := range names {
		set, err := p.Set(name)
		if err != nil {
			return nil, err
		}
		if trees[name], err = fetcher.Ensure(ctx, set); err != nil {
			return nil, err
		}
	}
	return trees, nil
}
