package boot

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"casemate/initramfs/boot/halt"
)

// Of linux/input-event-codes.h.
const (
	evKey    = 1
	keyPower = 116
)

// buttons watches the power buttons of the machine: ACPI's, and the power key
// of a keyboard. Every other input device is left alone.
type buttons struct {
	sys, dev string
	pressed  func()
	logf     func(format string, args ...any)

	mu   sync.Mutex
	seen map[string]bool
}

func newButtons(sys, dev string, pressed func(), logf func(string, ...any)) *buttons {
	return &buttons{sys: sys, dev: dev, pressed: pressed, logf: logf, seen: map[string]bool{}}
}

// watchAll watches the devices that are there already.
func (b *buttons) watchAll() {
	events, _ := filepath.Glob(filepath.Join(b.dev, "input/event*"))
	for _, e := range events {
		b.watch("input/" + filepath.Base(e))
	}
}

// watch watches the input device name, such as input/event0, from now on.
func (b *buttons) watch(name string) {
	base := filepath.Base(name)
	if !strings.HasPrefix(base, "event") {
		return
	}
	keys, err := os.ReadFile(filepath.Join(b.sys, "class/input", base, "device/capabilities/key"))
	if err != nil || !hasKey(string(keys), keyPower) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[name] {
		return
	}
	f, err := os.Open(filepath.Join(b.dev, name))
	if err != nil {
		b.logf("power button: %v", err)
		return
	}
	b.seen[name] = true
	go func() {
		defer halt.OnPanic()
		readButton(f, b.pressed)
		f.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.seen, name) // another device may get its name
	}()
}

// readButton reads struct input_event until the device is gone.
func readButton(r io.Reader, pressed func()) {
	var e struct {
		Sec, Usec  uint64
		Type, Code uint16
		Value      int32
	}
	for binary.Read(r, binary.NativeEndian, &e) == nil {
		if e.Type == evKey && e.Code == keyPower && e.Value == 1 {
			pressed()
		}
	}
}

// hasKey looks a key up in the bit mask that sysfs shows: 64-bit words in hex,
// the highest first.
func hasKey(mask string, key int) bool {
	words := strings.Fields(mask)
	i := len(words) - 1 - key/64
	if i < 0 {
		return false
	}
	w, err := strconv.ParseUint(words[i], 16, 64)
	return err == nil && w&(1<<(key%64)) != 0
}
