// Package debian fetches a closed list of packages of one Debian suite and
// unpacks them into trees, as any user and without touching the host: the
// host's own apt resolves, downloads and verifies, in private directories.
//
// It is not an installer. Maintainer scripts never run, nothing is configured,
// and a tree is not a root file system: it is a place to copy files from and,
// through Tree.Command, to run programs from.
package debian

// Set is a named list of packages. What is unpacked is the list and everything
// it depends on (Depends and Pre-Depends, no Recommends), as if nothing were
// installed yet.
type Set struct {
	Name     string   `json:"name"`
	Packages []string `json:"packages"`
}

// Package is one binary package of a tree.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	// SHA256 is the digest in hex of the .deb, from the signed package list.
	SHA256 string `json:"sha256"`
	// Size is the size of the .deb in bytes.
	Size int64 `json:"size"`
	// Files is what was unpacked. Documentation is left out, but for copyright.
	Files []File `json:"files,omitempty"`
}

// File is a regular file or a symbolic link of a package.
type File struct {
	// Path is relative to the tree's root and has no leading slash.
	Path string `json:"path"`
	// SHA256 (hex) and Size in bytes are those of a regular file.
	SHA256 string `json:"sha256,omitempty"`
	Size   int64  `json:"size,omitempty"`
	Exec   bool   `json:"exec,omitempty"`
	// Link is the target of a symbolic link.
	Link string `json:"link,omitempty"`
}

// Report is told how far a step has come, in bytes or, if total is at most
// 100, in percent. The last call of a step has done == total. It may be called
// from several goroutines, but never at the same time.
type Report func(step string, done, total int64)
