package fairness

// maxHand is the most queues that a flow may be dealt (validation allows fewer than 2^60 hands; ten is far beyond use).
const maxHand = 16

// deal picks size distinct queues out of n by a hash, each choice from those that are left (shuffle sharding): two flows
// seldom share all their queues, so a heavy one leaves a light one somewhere to go.
func deal(hash uint64, n, size int, hand *[maxHand]int) []int {
	size = min(size, n, maxHand)
	for i := range size {
		left := uint64(n - i)
		card := int(hash % left)
		hash /= left
		// card counts among the queues that are not dealt yet: step over those that are, in ascending order.
		at := i
		for j := range i {
			if card >= hand[j] {
				card++
			} else {
				at = j
				break
			}
		}
		copy(hand[at+1:i+1], hand[at:i])
		hand[at] = card
	}
	return hand[:size]
}
