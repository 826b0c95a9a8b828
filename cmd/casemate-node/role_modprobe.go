package main

import (
	"os"

	"casemate/initramfs/boot"
)

func init() { roles["modprobe"] = func() error { return boot.Modprobe(os.Args[1:]) } }
