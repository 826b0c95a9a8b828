package qemu

import (
	"casemate/vmhost/volume"
)

// FirstFD is the number of the first inherited descriptor: the i-th file given
// to Launcher.Start is FirstFD+i in the chamber. 3 is the document, 4 the
// error pipe.
const (
	documentFD = 3
	errorFD    = 4
	FirstFD    = 5
	// OpenedFD is the first number for what vmexec opens itself. It leaves
	// room below for the inherited ones and for the Go runtime's own.
	OpenedFD = 200
)

// Chamber is everything vmexec needs to know, as data: what the program will
// see, hold and be. vmexec carries it out top to bottom, and does nothing else.
type Chamber struct {
	// Root is the empty directory on which the chamber's tmpfs is mounted, in
	// a mount namespace of its own; Context is the tmpfs's label.
	Root    string `json:"root"`
	Context string `json:"context"`
	// Binds are the node's files and directories in the chamber, read-only.
	Binds []Bind `json:"binds"`
	// Devices are names below /dev.
	Devices []string `json:"devices"`
	// Volumes are mounted while still in the host's network namespace.
	Volumes []Volume `json:"volumes,omitempty"`
	// OpenAs is who opens files on volumes; the server sees it.
	OpenAs volume.Identity `json:"openAs"`
	// KVM is the number under which /dev/kvm is passed, 0 for none.
	KVM int `json:"kvm,omitempty"`
	// NVRAM is a private copy of a file, gone with the process.
	NVRAM *Copy `json:"nvram,omitempty"`
	// Inherit are the descriptors that the program keeps, besides 0 to 2 and
	// those that this document has opened.
	Inherit []int `json:"inherit,omitempty"`

	// UID and GID are the program's: no groups, no capabilities.
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
	// NoFile is the limit of open descriptors.
	NoFile uint64 `json:"noFile"`
	// Label is the program's SELinux context.
	Label string `json:"label"`
	// Args is the program with its arguments; Args[0] is a path in the chamber.
	// Empty: nothing is executed, the work on the volumes was all.
	Args []string `json:"args,omitempty"`

	created bool // a file on a volume
}

// Bind is a bind mount: Source on the node, Target in the chamber. Target is a
// directory or a file as Source is.
type Bind struct {
	Source string `json:"source"`
	Target string `json:"target"`
}

// Volume is a directory on a server, mounted at Target in the chamber with
// every file labelled Context.
type Volume struct {
	Directory volume.Directory `json:"directory"`
	Target    string           `json:"target"`
	Context   string           `json:"context"`
	ReadOnly  bool             `json:"readOnly,omitempty"`
	// MakeDirs makes the directory on the server first.
	MakeDirs bool         `json:"makeDirs,omitempty"`
	Files    []VolumeFile `json:"files,omitempty"`
	// Create and Remove name a file to make (it must not exist) or remove.
	Create string `json:"create,omitempty"`
	Remove string `json:"remove,omitempty"`
}

// VolumeFile is a file of a volume that the program gets as descriptors. RW is
// 0 for a read-only one.
type VolumeFile struct {
	Name   string `json:"name"`
	Format string `json:"format"`
	RW     int    `json:"rw,omitempty"`
	RO     int    `json:"ro"`
}

// Copy is a file of the node whose copy is passed read-write as FD.
type Copy struct {
	Source  string `json:"source"`
	Context string `json:"context"`
	FD      int    `json:"fd"`
}

// Failure is what vmexec reports: an operation, its object, what went wrong.
type Failure struct {
	Op      string `json:"op"`
	Object  string `json:"object"`
	Message string `json:"message"`
	// Errno is the system's error number, 0 if there was none.
	Errno int `json:"errno,omitempty"`
	// Created says that the file of Volume.Create had been made by then.
	Created bool `json:"created,omitempty"`
}

// Operations of a Failure that the manager tells apart.
const (
	OpMountVolume  = "mount volume"
	OpOpenVolume   = "open volume"
	OpCreateVolume = "create volume"
	OpMakeDirs     = "make directories"
)

func (f *Failure) Error() string { return f.Op + " " + f.Object + ": " + f.Message }
