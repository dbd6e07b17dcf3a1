// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf-sim: a virtio buffer device without a host, which can misbehave.
 *
 * For tests of the driver. The device is one of this machine's own making: its
 * ring is read and written by a work item, which knows every command and answers
 * it as a device without consumers does. A test says in debugfs which command is
 * answered otherwise: not at all, with bytes of its own, twice, or for a chain
 * that is not there. What a fault does is up to the driver; this file only keeps
 * to memory that the driver has given it.
 *
 * In the folder virtio-buf-sim of debugfs, all write-only:
 *
 * create	NAME: makes the device, with this instance name
 * remove	anything: pulls it
 * config	OFFSET SIZE VALUE: a number in the configuration of the next device
 * fault	COMMAND KIND [LENGTH]: what happens to VIRTIO_BUF_CMD_* COMMAND, or,
 *		with 0, to each of them; ends the fault before. Kinds: see
 *		virtbuf_sim_kinds; LENGTH is what "raw" reports as written, and
 *		how many looks at the status a "stuck-reset" survives.
 * answer	bytes: what "raw" answers
 * notify	anything: a configuration change
 * sleep, wake	anything: as if the machine were suspended and resumed
 *
 * One device, one fault at a time. Locks: virtbuf_sim_lock is for debugfs,
 * virtbuf_sim.lock for the ring and the fault.
 */
#include <linux/debugfs.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/uuid.h>
#include <linux/virtio.h>
#include <linux/virtio_buf.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/workqueue.h>

#define VIRTBUF_SIM_RING	128
/* The longest request that it looks at; longer ones are cut */
#define VIRTBUF_SIM_REQUEST	256
#define VIRTBUF_SIM_ANSWER	4096
/* How long a "slow" device takes for an answer, and how often it shows a sign */
#define VIRTBUF_SIM_SLOW_MS	3000
#define VIRTBUF_SIM_SIGN_MS	200

enum virtbuf_sim_kind {
	VIRTBUF_SIM_NORMAL,
	VIRTBUF_SIM_SILENT,
	VIRTBUF_SIM_SLOW,
	VIRTBUF_SIM_RAW,
	VIRTBUF_SIM_TWICE,
	VIRTBUF_SIM_WRONG_CHAIN,
	VIRTBUF_SIM_NO_CHAIN,
	VIRTBUF_SIM_JUMP,
	VIRTBUF_SIM_STUCK_RESET,
};

static const char *const virtbuf_sim_kinds[] = {
	[VIRTBUF_SIM_NORMAL] = "normal",
	[VIRTBUF_SIM_SILENT] = "silent",
	[VIRTBUF_SIM_SLOW] = "slow", /* answers after signs of life */
	[VIRTBUF_SIM_RAW] = "raw",
	[VIRTBUF_SIM_TWICE] = "twice",
	[VIRTBUF_SIM_WRONG_CHAIN] = "wrong-chain", /* another one's */
	[VIRTBUF_SIM_NO_CHAIN] = "no-chain", /* outside of the ring */
	[VIRTBUF_SIM_JUMP] = "jump", /* of the ring's index */
	[VIRTBUF_SIM_STUCK_RESET] = "stuck-reset", /* no command's: a reset's */
};

/**
 * struct virtbuf_sim - the device
 * @vdev: what the driver sees
 * @parent: of @vdev
 * @config: the configuration space
 * @vq: commandq, NULL without
 * @work: looks at the ring
 * @lock: what follows
 * @status: of the device
 * @seen: chains taken from the available ring
 * @due: when a slow device answers the chain at @seen, in jiffies; 0: not slow
 * @stuck: how often the status is not 0 yet after a reset
 * @command: to which @kind happens; 0: any
 * @kind: the fault
 * @raw_len: what VIRTBUF_SIM_RAW reports
 * @raw_size: bytes of @raw
 * @raw: what it answers
 * @answer: the answer that is being made
 */
struct virtbuf_sim {
	struct virtio_device vdev;
	struct platform_device *parent;
	struct virtio_buf_config config;
	struct virtqueue *vq;
	struct delayed_work work;

	struct mutex lock; /* what follows */
	u8 status;
	u16 seen;
	unsigned long due;
	unsigned int stuck;
	u32 command;
	enum virtbuf_sim_kind kind;
	u32 raw_len;
	size_t raw_size;
	u8 raw[VIRTBUF_SIM_ANSWER];
	u8 answer[VIRTBUF_SIM_ANSWER];
};

static DEFINE_MUTEX(virtbuf_sim_lock);
static struct virtbuf_sim *virtbuf_sim;
static struct dentry *virtbuf_sim_folder;
static struct virtio_buf_config virtbuf_sim_config;

static struct virtbuf_sim *to_sim(struct virtio_device *vdev)
{
	return container_of(vdev, struct virtbuf_sim, vdev);
}

/* Reads the chain's request, or writes what fits of an answer; gives the bytes */
static size_t virtbuf_sim_copy(struct virtbuf_sim *sim, u16 head, bool write,
			       u8 *bytes, size_t size)
{
	const struct vring *ring = virtqueue_get_vring(sim->vq);
	size_t done = 0;
	u16 i = head;

	for (;;) {
		const struct vring_desc *desc = &ring->desc[i];
		u16 flags = virtio16_to_cpu(&sim->vdev, desc->flags);
		u64 addr = virtio64_to_cpu(&sim->vdev, desc->addr);
		size_t len = min_t(size_t, size - done,
				   virtio32_to_cpu(&sim->vdev, desc->len));

		if (write == !!(flags & VRING_DESC_F_WRITE)) {
			if (write)
				memcpy(phys_to_virt(addr), bytes + done, len);
			else
				memcpy(bytes + done, phys_to_virt(addr), len);
			done += len;
		}
		if (!(flags & VRING_DESC_F_NEXT))
			return done;
		i = virtio16_to_cpu(&sim->vdev, desc->next);
	}
}

static void virtbuf_sim_use(struct virtbuf_sim *sim, u32 head, u32 len)
{
	struct vring_used *used = virtqueue_get_vring(sim->vq)->used;
	u16 index = virtio16_to_cpu(&sim->vdev, used->idx);
	struct vring_used_elem *elem = &used->ring[index % VIRTBUF_SIM_RING];

	elem->id = cpu_to_virtio32(&sim->vdev, head);
	elem->len = cpu_to_virtio32(&sim->vdev, len);
	virtio_store_mb(false, &used->idx,
			cpu_to_virtio16(&sim->vdev, index + 1));
}

static void virtbuf_sim_jump(struct virtbuf_sim *sim)
{
	struct vring_used *used = virtqueue_get_vring(sim->vq)->used;
	u16 index = virtio16_to_cpu(&sim->vdev, used->idx);

	virtio_store_mb(false, &used->idx,
			cpu_to_virtio16(&sim->vdev, index + 77));
}

/* What a device without consumers says; gives the bytes */
static size_t virtbuf_sim_answer(struct virtbuf_sim *sim, const u8 *request)
{
	struct virtio_buf_register_response *registered = (void *)sim->answer;
	struct virtio_buf_update_response *updated = (void *)sim->answer;
	const struct virtio_buf_update *update = (const void *)request;

	memset(sim->answer, 0, sizeof(sim->answer));
	switch (le32_to_cpu(((const struct virtio_buf_request *)request)->type)) {
	case VIRTIO_BUF_CMD_REGISTER:
		registered->backing = VIRTIO_BUF_BACKING_COPY;
		registered->reason = VIRTIO_BUF_REASON_DISABLED;
		generate_random_uuid(registered->uuid);
		return sizeof(*registered);
	case VIRTIO_BUF_CMD_UPDATE:
		updated->released = update->frame.serial;
		return sizeof(*updated);
	case VIRTIO_BUF_CMD_RESET:
		return sizeof(struct virtio_buf_reset_response);
	case VIRTIO_BUF_CMD_GET_EVENTS:
		return sizeof(struct virtio_buf_events_response);
	case VIRTIO_BUF_CMD_GET_CONSUMERS:
		return sizeof(struct virtio_buf_consumers_response);
	default:
		return sizeof(struct virtio_buf_response);
	}
}

/* Returns whether the chain was taken */
static bool virtbuf_sim_handle(struct virtbuf_sim *sim, u16 head)
{
	u8 request[VIRTBUF_SIM_REQUEST] __aligned(8) = {};
	enum virtbuf_sim_kind kind = VIRTBUF_SIM_NORMAL;
	size_t len;
	u32 type;

	virtbuf_sim_copy(sim, head, false, request, sizeof(request));
	type = le32_to_cpu(((struct virtio_buf_request *)request)->type);
	if (!sim->command || sim->command == type)
		kind = sim->kind;

	if (kind == VIRTBUF_SIM_SILENT)
		return true;
	if (kind == VIRTBUF_SIM_SLOW) {
		if (!sim->due)
			sim->due = jiffies +
				   msecs_to_jiffies(VIRTBUF_SIM_SLOW_MS);
		if (time_before(jiffies, sim->due))
			return false;
	}
	sim->due = 0;
	if (kind == VIRTBUF_SIM_RAW) {
		virtbuf_sim_copy(sim, head, true, sim->raw, sim->raw_size);
		virtbuf_sim_use(sim, head, sim->raw_len);
		return true;
	}

	len = virtbuf_sim_answer(sim, request);
	len = virtbuf_sim_copy(sim, head, true, sim->answer, len);
	switch (kind) {
	case VIRTBUF_SIM_TWICE:
		virtbuf_sim_use(sim, head, len);
		virtbuf_sim_use(sim, head, len);
		break;
	case VIRTBUF_SIM_WRONG_CHAIN:
		virtbuf_sim_use(sim, (head + VIRTBUF_SIM_RING / 2) %
				VIRTBUF_SIM_RING, len);
		break;
	case VIRTBUF_SIM_NO_CHAIN:
		virtbuf_sim_use(sim, U32_MAX - 3, len);
		break;
	case VIRTBUF_SIM_JUMP:
		virtbuf_sim_use(sim, head, len);
		virtbuf_sim_jump(sim);
		break;
	default:
		virtbuf_sim_use(sim, head, len);
	}
	return true;
}

static void virtbuf_sim_work(struct work_struct *work)
{
	struct virtbuf_sim *sim = container_of(work, struct virtbuf_sim,
					       work.work);
	bool taken = true, answered = false;
	const struct vring *ring;

	mutex_lock(&sim->lock);
	if (!sim->vq || !(sim->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		mutex_unlock(&sim->lock);
		return;
	}
	ring = virtqueue_get_vring(sim->vq);
	while (taken) {
		u16 index = virtio16_to_cpu(&sim->vdev,
					    READ_ONCE(ring->avail->idx));

		if (sim->seen == index)
			break;
		virtio_rmb(false);
		index = sim->seen % VIRTBUF_SIM_RING;
		taken = virtbuf_sim_handle(sim,
					   virtio16_to_cpu(&sim->vdev,
							   ring->avail->ring[index]));
		if (taken) {
			sim->seen++;
			answered = true;
		}
	}
	mutex_unlock(&sim->lock);

	if (answered)
		vring_interrupt(0, sim->vq);
	if (!taken) {
		virtio_config_changed(&sim->vdev);
		schedule_delayed_work(&sim->work,
				      msecs_to_jiffies(VIRTBUF_SIM_SIGN_MS));
	}
}

static bool virtbuf_sim_notify(struct virtqueue *vq)
{
	mod_delayed_work(system_wq, &to_sim(vq->vdev)->work, 0);
	return true;
}

static void virtbuf_sim_get(struct virtio_device *vdev, unsigned int offset,
			    void *buf, unsigned int len)
{
	struct virtbuf_sim *sim = to_sim(vdev);

	memset(buf, 0, len);
	if (offset <= sizeof(sim->config) &&
	    len <= sizeof(sim->config) - offset)
		memcpy(buf, (u8 *)&sim->config + offset, len);
}

static void virtbuf_sim_set(struct virtio_device *vdev, unsigned int offset,
			    const void *buf, unsigned int len)
{
}

static u8 virtbuf_sim_get_status(struct virtio_device *vdev)
{
	struct virtbuf_sim *sim = to_sim(vdev);
	u8 status;

	mutex_lock(&sim->lock);
	status = sim->status;
	if (sim->stuck) {
		sim->stuck--;
		status = VIRTIO_CONFIG_S_NEEDS_RESET;
	}
	mutex_unlock(&sim->lock);
	return status;
}

static void virtbuf_sim_set_status(struct virtio_device *vdev, u8 status)
{
	struct virtbuf_sim *sim = to_sim(vdev);

	mutex_lock(&sim->lock);
	sim->status = status;
	mutex_unlock(&sim->lock);
	/* What was queued before DRIVER_OK waits for it */
	if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		mod_delayed_work(system_wq, &sim->work, 0);
}

static void virtbuf_sim_reset(struct virtio_device *vdev)
{
	struct virtbuf_sim *sim = to_sim(vdev);

	mutex_lock(&sim->lock);
	sim->status = 0;
	sim->stuck = sim->kind == VIRTBUF_SIM_STUCK_RESET ? sim->raw_len : 0;
	sim->seen = 0;
	sim->due = 0;
	mutex_unlock(&sim->lock);
	cancel_delayed_work_sync(&sim->work);
}

static void virtbuf_sim_del_vqs(struct virtio_device *vdev)
{
	struct virtbuf_sim *sim = to_sim(vdev);
	struct virtqueue *vq;

	mutex_lock(&sim->lock);
	vq = sim->vq;
	sim->vq = NULL;
	mutex_unlock(&sim->lock);
	cancel_delayed_work_sync(&sim->work);
	if (vq)
		vring_del_virtqueue(vq);
}

static int virtbuf_sim_find_vqs(struct virtio_device *vdev, unsigned int count,
				struct virtqueue *vqs[],
				struct virtqueue_info info[],
				struct irq_affinity *affinity)
{
	struct virtbuf_sim *sim = to_sim(vdev);
	struct virtqueue *vq;

	if (count != 1)
		return -EINVAL;
	vq = vring_create_virtqueue(0, VIRTBUF_SIM_RING, PAGE_SIZE, vdev, true,
				    false, info[0].ctx, virtbuf_sim_notify,
				    info[0].callback, info[0].name);
	if (!vq)
		return -ENOMEM;
	mutex_lock(&sim->lock);
	sim->vq = vq;
	mutex_unlock(&sim->lock);
	vqs[0] = vq;
	return 0;
}

static u64 virtbuf_sim_get_features(struct virtio_device *vdev)
{
	/* It has no consumers, but may say that one has written */
	return BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_BUF_F_WRITER);
}

static int virtbuf_sim_finalize_features(struct virtio_device *vdev)
{
	vring_transport_features(vdev);
	return 0;
}

static const char *virtbuf_sim_bus_name(struct virtio_device *vdev)
{
	return "virtio-buf-sim";
}

static const struct virtio_config_ops virtbuf_sim_ops = {
	.get = virtbuf_sim_get,
	.set = virtbuf_sim_set,
	.get_status = virtbuf_sim_get_status,
	.set_status = virtbuf_sim_set_status,
	.reset = virtbuf_sim_reset,
	.find_vqs = virtbuf_sim_find_vqs,
	.del_vqs = virtbuf_sim_del_vqs,
	.get_features = virtbuf_sim_get_features,
	.finalize_features = virtbuf_sim_finalize_features,
	.bus_name = virtbuf_sim_bus_name,
};

static void virtbuf_sim_release(struct device *dev)
{
	struct virtbuf_sim *sim = to_sim(dev_to_virtio(dev));

	cancel_delayed_work_sync(&sim->work);
	kfree(sim);
}

static int virtbuf_sim_create(const char *name)
{
	struct virtbuf_sim *sim;
	int ret;

	if (virtbuf_sim)
		return -EBUSY;
	sim = kzalloc(sizeof(*sim), GFP_KERNEL);
	if (!sim)
		return -ENOMEM;
	sim->parent = platform_device_register_simple("virtio-buf-sim",
						      PLATFORM_DEVID_NONE,
						      NULL, 0);
	if (IS_ERR(sim->parent)) {
		ret = PTR_ERR(sim->parent);
		kfree(sim);
		return ret;
	}
	mutex_init(&sim->lock);
	INIT_DELAYED_WORK(&sim->work, virtbuf_sim_work);
	sim->config = virtbuf_sim_config;
	strscpy(sim->config.instance, name, sizeof(sim->config.instance));
	sim->vdev.id.device = VIRTIO_ID_BUF;
	sim->vdev.config = &virtbuf_sim_ops;
	sim->vdev.dev.parent = &sim->parent->dev;
	sim->vdev.dev.release = virtbuf_sim_release;

	ret = register_virtio_device(&sim->vdev);
	if (ret) {
		struct platform_device *parent = sim->parent;

		put_device(&sim->vdev.dev);
		platform_device_unregister(parent);
		return ret;
	}
	virtbuf_sim = sim;
	return 0;
}

static void virtbuf_sim_remove(void)
{
	struct virtbuf_sim *sim = virtbuf_sim;
	struct platform_device *parent;

	if (!sim)
		return;
	parent = sim->parent;
	virtbuf_sim = NULL;
	unregister_virtio_device(&sim->vdev);
	platform_device_unregister(parent);
}

static void virtbuf_sim_default_config(void)
{
	virtbuf_sim_config = (struct virtio_buf_config) {
		.page_size = cpu_to_le32(SZ_4K),
		.max_buffers = cpu_to_le32(64),
		.max_ranges = cpu_to_le32(1024),
		.max_buffer_size = cpu_to_le64(SZ_64M),
		.max_total_size = cpu_to_le64(SZ_128M),
		.max_properties = cpu_to_le32(64),
		.max_property_bytes = cpu_to_le32(SZ_4K),
		.release_timeout_ms = cpu_to_le32(5000),
		.hold_timeout_ms = cpu_to_le32(5000),
	};
}

static int virtbuf_sim_set_config(const char *text)
{
	unsigned int offset, size;
	u64 value;

	if (!strncmp(text, "default", 7)) {
		virtbuf_sim_default_config();
		return 0;
	}
	if (sscanf(text, "%u %u %llu", &offset, &size, &value) != 3 ||
	    size > sizeof(value) ||
	    offset > sizeof(virtbuf_sim_config) - size)
		return -EINVAL;
	value = (__force u64)cpu_to_le64(value);
	memcpy((u8 *)&virtbuf_sim_config + offset, &value, size);
	return 0;
}

static int virtbuf_sim_set_fault(struct virtbuf_sim *sim, const char *text)
{
	char name[16];
	u32 command, len = 0;
	int kind;

	if (sscanf(text, "%u %15s %u", &command, name, &len) < 2)
		return -EINVAL;
	kind = match_string(virtbuf_sim_kinds, ARRAY_SIZE(virtbuf_sim_kinds),
			    name);
	if (kind < 0)
		return kind;
	mutex_lock(&sim->lock);
	sim->command = command;
	sim->kind = kind;
	sim->raw_len = len;
	mutex_unlock(&sim->lock);
	/* What was stuck may go on */
	mod_delayed_work(system_wq, &sim->work, 0);
	return 0;
}

static void virtbuf_sim_set_answer(struct virtbuf_sim *sim, const char *bytes,
				   size_t size)
{
	mutex_lock(&sim->lock);
	memcpy(sim->raw, bytes, size);
	sim->raw_size = size;
	mutex_unlock(&sim->lock);
}

static int virtbuf_sim_do(const char *file, char *text, size_t size)
{
	struct virtbuf_sim *sim = virtbuf_sim;

	if (!strcmp(file, "create"))
		return virtbuf_sim_create(strim(text));
	if (!strcmp(file, "config"))
		return virtbuf_sim_set_config(text);
	if (!sim)
		return -ENODEV;
	if (!strcmp(file, "remove"))
		virtbuf_sim_remove();
	else if (!strcmp(file, "fault"))
		return virtbuf_sim_set_fault(sim, text);
	else if (!strcmp(file, "answer"))
		virtbuf_sim_set_answer(sim, text, size);
	else if (!strcmp(file, "notify"))
		virtio_config_changed(&sim->vdev);
#ifdef CONFIG_PM_SLEEP
	else if (!strcmp(file, "sleep"))
		return virtio_device_freeze(&sim->vdev);
	else if (!strcmp(file, "wake"))
		return virtio_device_restore(&sim->vdev);
#endif
	else
		return -EOPNOTSUPP;
	return 0;
}

static ssize_t virtbuf_sim_write(struct file *file, const char __user *user,
				 size_t size, loff_t *offset)
{
	char *text;
	int ret;

	if (size > VIRTBUF_SIM_ANSWER)
		return -E2BIG;
	text = memdup_user_nul(user, size);
	if (IS_ERR(text))
		return PTR_ERR(text);
	mutex_lock(&virtbuf_sim_lock);
	ret = virtbuf_sim_do(file->f_path.dentry->d_name.name, text, size);
	mutex_unlock(&virtbuf_sim_lock);
	kfree(text);
	return ret ?: size;
}

static const struct file_operations virtbuf_sim_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = virtbuf_sim_write,
};

static int __init virtbuf_sim_init(void)
{
	static const char *const files[] = {
		"create", "remove", "config", "fault", "answer", "notify",
		"sleep", "wake",
	};
	unsigned int i;

	virtbuf_sim_default_config();
	virtbuf_sim_folder = debugfs_create_dir("virtio-buf-sim", NULL);
	for (i = 0; i < ARRAY_SIZE(files); i++)
		debugfs_create_file(files[i], 0200, virtbuf_sim_folder, NULL,
				    &virtbuf_sim_fops);
	return 0;
}
module_init(virtbuf_sim_init);

static void __exit virtbuf_sim_exit(void)
{
	debugfs_remove(virtbuf_sim_folder);
	virtbuf_sim_remove();
}
module_exit(virtbuf_sim_exit);

MODULE_AUTHOR("The virtio-buf developers");
MODULE_DESCRIPTION("Virtio buffer device without a host, for tests");
MODULE_LICENSE("GPL");
