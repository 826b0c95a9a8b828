package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	evKey    = 0x01 // linux/input-event-codes.h
	keyPower = 116
	// struct input_event of 64-bit kernels: two longs of time, type, code, value.
	eventSize = 24
)

// watchPowerButton powers off when the ACPI power button is pressed. sysfs has
// the names of the input devices, dev their nodes.
func watchPowerButton(sysfs, dev string) error {
	names, _ := filepath.Glob(sysfs + "/event*/device/name")
	found := false
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil || strings.TrimSpace(string(b)) != "Power Button" {
			continue
		}
		event := filepath.Base(filepath.Dir(filepath.Dir(n)))
		f, err := os.Open(filepath.Join(dev, event))
		if err != nil {
			return err
		}
		found = true
		go func() {
			defer f.Close()
			buf := make([]byte, eventSize)
			for {
				if n, err := f.Read(buf); err != nil || n != eventSize {
					return
				}
				if isPowerPress(buf) {
					powerOff()
				}
			}
		}()
	}
	if !found {
		return fmt.Errorf("no power button in %s", sysfs)
	}
	return nil
}

func isPowerPress(event []byte) bool {
	return binary.LittleEndian.Uint16(event[16:]) == evKey &&
		binary.LittleEndian.Uint16(event[18:]) == keyPower &&
		binary.LittleEndian.Uint32(event[20:]) == 1
}
