package main

import (
	"errors"
	"os"

	"casemate/initramfs/boot"
)

func init() {
	roles["init"] = func() error {
		if os.Getpid() != 1 {
			return errors.New("runs only as the first process of a node")
		}
		boot.Run()
		return nil
	}
}
